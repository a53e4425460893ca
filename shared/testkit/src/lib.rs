//! A fake for every port, the port contracts, builders and fault injection; for tests only.
