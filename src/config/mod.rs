//! Configuration: `stagecraft.yml` and Compose files into typed models with source positions.
//! Reads files through the caller's loader; knows no host and performs no effect.

pub mod compose;
pub mod diagnostic;
pub mod yaml;
