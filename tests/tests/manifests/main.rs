//! The files that run Shannon elsewhere, and the pipelines: each is taken by the tool of its field, each
//! tool is seen refusing a broken copy, and the numbers are the ones that were decided.

mod clouds;
mod containers;
mod judges;
mod kubernetes;
mod machines;
mod pipelines;
