//! The store as one operator's process reaches it. Like the one on hosts it can be written while
//! all hosts answer, and its lock is lost when one of them goes away.

use std::collections::BTreeMap;

use stagecraft::model::{Release, sha256_hex};
use stagecraft::state::{Holder, Later, OtherLock, OtherStore, StateError};

use crate::bugs::Bug;
use crate::sim::{Inner, Sim};

/// A process's way to the store.
#[derive(Debug)]
pub struct Shelves {
    pub sim: Sim,
    pub process: u32,
}

/// The lock in a process's hands.
#[derive(Debug)]
struct Held {
    sim: Sim,
    process: u32,
}

fn refused(what: &str) -> StateError {
    StateError::Broken { place: "somewhere".into(), what: what.into() }
}

impl Inner {
    /// Whether a write of a process comes through; if not, it is remembered.
    fn admit(&mut self, process: u32, what: &str) -> Result<(), StateError> {
        let down = !self.state.faults.unreachable.is_empty();
        let full = !self.state.faults.full_disks.is_empty();
        let unlucky = self.rng.chance(self.weather.store);
        if down || full || unlucky {
            self.say(format_args!("p{process} can't write {what}"));
            if let Some(found) = self.processes.get_mut(&process) {
                found.refused = true;
            }
            return Err(refused("can't be written"));
        }
        Ok(())
    }
}

impl Shelves {
    /// A write: the process may die before it and after it.
    async fn write(
        &self,
        what: &str,
        write: impl FnOnce(&mut Inner) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        self.sim.hook(self.process, &format!("before writing {what}")).await;
        Sim::sleep(20).await;
        let result = {
            let mut inner = self.sim.now();
            inner.admit(self.process, what).and_then(|()| write(&mut inner))
        };
        self.sim.hook(self.process, &format!("after writing {what}")).await;
        result
    }
}

impl OtherStore for Shelves {
    fn releases(&self) -> Later<'_, Vec<Release>> {
        Box::pin(async move {
            Sim::sleep(10).await;
            let mut inner = self.sim.now();
            let found: Vec<Release> =
                inner.shelf.releases.values().map(|(release, _)| release.clone()).collect();
            let skips = inner.bug == Some(Bug::SkipSecondLook);
            let Some(process) = inner.processes.get_mut(&self.process) else { return Ok(found) };
            let first = process.first_releases.get_or_insert_with(|| found.clone()).clone();
            Ok(if skips && process.relooks { first } else { found })
        })
    }

    fn release(&self, number: u64) -> Later<'_, Release> {
        Box::pin(async move {
            let inner = self.sim.now();
            let found = inner.shelf.releases.get(&number).map(|(release, _)| release.clone());
            found.ok_or(StateError::NoRelease(number))
        })
    }

    fn put<'a>(&'a self, release: &'a Release) -> Later<'a, ()> {
        let (number, process) = (release.number, self.process);
        let what = format!("release {number} ({})", release.outcome.name());
        Box::pin(async move {
            self.write(&what.clone(), move |inner| {
                inner.say(format_args!("p{process} writes {what}"));
                let earlier = inner.shelf.releases.get(&number);
                if earlier.is_some_and(|(_, by)| *by != process) {
                    inner.violate(format_args!(
                        "p{process} writes over somebody else's release {number}"
                    ));
                }
                if inner.bug != Some(Bug::ForgetRelease) {
                    inner.shelf.releases.insert(number, (release.clone(), process));
                }
                if let Some(found) = inner.processes.get_mut(&process) {
                    found.recorded = Some(number);
                }
                Ok(())
            })
            .await
        })
    }

    fn put_blob<'a>(&'a self, text: &'a str) -> Later<'a, String> {
        Box::pin(async move {
            let address = sha256_hex(text);
            let name = address.clone();
            self.write("a blob", move |inner| {
                inner.shelf.blobs.insert(name, text.to_owned());
                Ok(())
            })
            .await?;
            Ok(address)
        })
    }

    fn get_blob<'a>(&'a self, address: &'a str) -> Later<'a, String> {
        Box::pin(async move {
            let inner = self.sim.now();
            inner.shelf.blobs.get(address).cloned().ok_or_else(|| refused("lacks a blob"))
        })
    }

    fn journal(&self, number: u64) -> Later<'_, Vec<String>> {
        Box::pin(async move {
            let inner = self.sim.now();
            Ok(inner.shelf.journals.get(&number).cloned().unwrap_or_default())
        })
    }

    fn lock<'a>(&'a self, _: &'a Holder) -> Later<'a, Box<dyn OtherLock>> {
        Box::pin(async move {
            let process = self.process;
            // There before the lock is, so that whoever dies in between lets go of it, too.
            let held = Held { sim: self.sim.clone(), process };
            self.write("the lock", move |inner| {
                if let Some(holder) = inner.shelf.holder {
                    inner.say(format_args!("p{process} finds the lock with p{holder}"));
                    let holder = format!("p{holder}");
                    return Err(StateError::Locked { place: "somewhere".into(), holder });
                }
                inner.say(format_args!("p{process} locks"));
                inner.shelf.holder = Some(process);
                if let Some(found) = inner.processes.get_mut(&process) {
                    found.holds_lock = true;
                    found.relooks = true;
                }
                Ok(())
            })
            .await?;
            Ok(Box::new(held) as Box<dyn OtherLock>)
        })
    }

    fn lock_status(&self) -> Later<'_, BTreeMap<String, Option<String>>> {
        Box::pin(async move {
            let holder = self.sim.now().shelf.holder.map(|process| format!("p{process}"));
            Ok([("somewhere".to_owned(), holder)].into())
        })
    }
}

impl Held {
    fn shelves(&self) -> Shelves {
        Shelves { sim: self.sim.clone(), process: self.process }
    }

    fn let_go(&self) {
        let mut inner = self.sim.now();
        if inner.shelf.holder == Some(self.process) {
            inner.shelf.holder = None;
            let process = self.process;
            inner.say(format_args!("p{process} unlocks"));
        }
        if let Some(found) = inner.processes.get_mut(&self.process) {
            found.holds_lock = false;
        }
    }
}

impl OtherLock for Held {
    fn open_journal(&mut self, number: u64) -> Later<'_, ()> {
        Box::pin(async move {
            let process = self.process;
            self.shelves()
                .write("the journal's beginning", move |inner| {
                    let found = inner.processes.get_mut(&process);
                    if let Some(found) = found {
                        found.journal = Some(number);
                    }
                    Ok(())
                })
                .await?;
            if self.sim.now().bug == Some(Bug::DropLockEarly) {
                self.let_go();
            }
            Ok(())
        })
    }

    fn journal<'a>(&'a mut self, line: &'a str) -> Later<'a, ()> {
        Box::pin(async move {
            let process = self.process;
            self.shelves()
                .write("the journal", move |inner| {
                    let early = inner.bug == Some(Bug::DropLockEarly);
                    let found = inner.processes.get(&process);
                    let number = found.and_then(|found| found.journal);
                    if !early && inner.shelf.holder != Some(process) {
                        return Err(refused("lost its lock"));
                    }
                    let forgets = inner.bug == Some(Bug::LoseJournalLine) && inner.rng.chance(20);
                    if let (Some(number), false) = (number, forgets) {
                        inner.shelf.journals.entry(number).or_default().push(line.to_owned());
                    }
                    Ok(())
                })
                .await
        })
    }

    fn release(self: Box<Self>) -> Later<'static, ()> {
        Box::pin(async move {
            self.sim.hook(self.process, "before unlocking").await;
            let held = self.sim.now().shelf.holder == Some(self.process);
            let early = self.sim.now().bug == Some(Bug::DropLockEarly);
            self.let_go();
            if held || early { Ok(()) } else { Err(refused("lost its lock before")) }
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.let_go();
    }
}
