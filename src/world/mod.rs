//! The world: every effect there is. Real hosts over SSH or a local shell, and the simulated world.
//! Performs and observes what it is told; decides nothing.

pub mod effects;
pub mod hosts;
pub mod inspect;
pub mod layout;
pub mod probe;
pub mod quote;
pub mod refusal;
pub mod secrets;
pub mod shell;
pub mod transport;

pub use hosts::HostsWorld;
