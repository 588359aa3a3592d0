//! Stagecraft: plan, apply and roll back Docker Compose applications on a handful of hosts.
//!
//! Each room's first line says what it is for; `docs/architecture.md` draws the house.

pub mod apply;
pub mod cli;
pub mod config;
pub mod desired;
pub mod diff;
pub mod engine;
pub mod model;
pub mod provider;
pub mod state;
pub mod view;
pub mod world;
