//! The gateway in front of a scripted API.
