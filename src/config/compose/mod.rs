//! The Compose model: reads what Docker Compose reads, and the same thing in it.

mod files;
pub use files::{Disk, Files, Memory, clean};
