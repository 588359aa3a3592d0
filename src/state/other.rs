//! Stores of other kinds than the built-in ones: the simulation brings one that loses, refuses and
//! dies as a seed says.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::Pin;

use super::{Holder, StateError};
use crate::model::Release;

/// An answer that comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, StateError>> + Send + 'a>>;

/// A store as `Store` needs it; its methods do what those of the same name do there.
pub trait OtherStore: Debug + Send + Sync {
    /// Every release on record, oldest first.
    fn releases(&self) -> Later<'_, Vec<Release>>;
    /// One release.
    fn release(&self, number: u64) -> Later<'_, Release>;
    /// Puts a release on record.
    fn put<'a>(&'a self, release: &'a Release) -> Later<'a, ()>;
    /// Keeps a text; its content address.
    fn put_blob<'a>(&'a self, text: &'a str) -> Later<'a, String>;
    /// The text at a content address.
    fn get_blob<'a>(&'a self, address: &'a str) -> Later<'a, String>;
    /// The lines of a release's journal.
    fn journal(&self, number: u64) -> Later<'_, Vec<String>>;
    /// Takes the lock, or says who holds it.
    fn lock<'a>(&'a self, holder: &'a Holder) -> Later<'a, Box<dyn OtherLock>>;
    /// Who holds the lock at each place.
    fn lock_status(&self) -> Later<'_, BTreeMap<String, Option<String>>>;
}

/// A lock as `Lock` needs it. Dropping it lets go of it.
pub trait OtherLock: Debug + Send {
    /// Chooses the release whose journal the next lines belong to.
    fn open_journal(&mut self, number: u64) -> Later<'_, ()>;
    /// Adds a line to the journal.
    fn journal<'a>(&'a mut self, line: &'a str) -> Later<'a, ()>;
    /// Lets go of the lock.
    fn release(self: Box<Self>) -> Later<'static, ()>;
}
