//! Providers: what a cloud can do, in a folder for each. A new one is a folder, and a line where the
//! engine opens it.

pub mod digitalocean;
