//! The one integration binary: a file per feature.

mod engine_properties;
mod sim;
