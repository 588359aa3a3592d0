//! The world: every effect there is. Real hosts over SSH or a local shell, and the simulated world.
//! Performs and observes what it is told; decides nothing.

pub mod secrets;
pub mod simulated;
