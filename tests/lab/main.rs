//! End-to-end tests on real hosts. `tests/run lab [NAME]` brings the hosts up and runs them, one
//! after the other; see `README.md` beside this file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod blocked;
mod crash;
#[path = "../cloud/digitalocean.rs"]
#[allow(dead_code, reason = "the other tests use more of it")]
mod digitalocean;
#[path = "../cloud/domains.rs"]
#[allow(dead_code, reason = "the other tests use more of it")]
mod domains;
mod drift;
mod edge;
mod first;
mod harness;
mod hosts;
mod infra;
mod lock;
mod order;
#[path = "../cloud/places.rs"]
#[allow(dead_code, reason = "the other tests use more of it")]
mod places;
mod policies;
mod removal;
mod rollback;
mod rollout;
mod saved;
mod secrets;
mod shop;
#[path = "../common/shuffle.rs"]
mod shuffle;
mod sweep;
#[path = "../cloud/tailnet.rs"]
#[allow(dead_code, reason = "the other tests use more of it")]
mod tailnet;
mod traffic;
mod twins;
