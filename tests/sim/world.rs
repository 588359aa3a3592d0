//! The world as one operator's process reaches it: effects take time, fail, are cut off, and go on
//! after the process has died; answers get lost.

use std::collections::BTreeMap;

use stagecraft::model::{Act, Effect, Failure, Host, Pick, Said, Sight};
use stagecraft::world::simulated::Verdict;
use stagecraft::world::{Later, OtherWorld};
use tokio::sync::oneshot;

use crate::bugs::Bug;
use crate::sim::{Inner, Sim};

/// How often a wait for health looks, as the script on hosts does.
const POLL_MS: u64 = 300;
/// How long an answer that never comes is waited for.
const PATIENCE_MS: u64 = 30_000;

/// A process's way to the world.
pub struct Reach {
    pub sim: Sim,
    pub process: u32,
}

/// What happens to one effect.
struct Fate {
    before_ms: u64,
    after_ms: u64,
    mishap: Option<Mishap>,
    /// Whether it goes on when its process dies before it has begun.
    goes_on: bool,
}

#[derive(Debug, Clone, Copy)]
enum Mishap {
    /// It fails, and nothing was done.
    Fails,
    /// It is done, and reported as failed.
    AnswerLost,
    /// It is not done, and nothing is heard of it for long.
    Hangs,
    /// It is cut off after some single changes.
    Cut(u32),
}

impl OtherWorld for Reach {
    fn probe<'a>(&'a self, host: &'a Host) -> Later<'a, Sight> {
        Box::pin(async move {
            let takes_ms = self.sim.now().rng.between(20, 80);
            Sim::sleep(takes_ms).await;
            self.sim.hook(self.process, "at a look").await;
            let mut inner = self.sim.now();
            inner.look(self.process, &host.name)
        })
    }

    fn perform<'a>(
        &'a self,
        _: &'a BTreeMap<String, Host>,
        effect: &'a Effect,
    ) -> Later<'a, Result<Said, Failure>> {
        Box::pin(async move {
            let place = || format!("before {} on {}", effect.act.name(), effect.host);
            self.sim.hook(self.process, &place()).await;
            let fate = self.sim.now().begin(self.process, effect);
            let (answer, heard) = oneshot::channel();
            tokio::spawn(remote(self.sim.clone(), self.process, effect.clone(), fate, answer));
            let lost = || Failure::new(format!("nothing was heard of {} any more", effect.host));
            let result = heard.await.unwrap_or_else(|_| Err(lost()));
            let place = || format!("after {} on {}", effect.act.name(), effect.host);
            self.sim.hook(self.process, &place()).await;
            result.map(|()| Said::new())
        })
    }
}

/// The host's side of an effect. It lives on when the process dies.
async fn remote(
    sim: Sim,
    process: u32,
    effect: Effect,
    fate: Fate,
    answer: oneshot::Sender<Result<(), Failure>>,
) {
    Sim::sleep(fate.before_ms).await;
    let host = effect.host.clone();
    let unreachable = || Failure::new(format!("{host} can't be reached"));
    let result = {
        let mut inner = sim.now();
        let dead = inner.processes.get(&process).is_none_or(|process| process.dead);
        if dead && !fate.goes_on {
            return;
        }
        if inner.state.faults.unreachable.contains(&host) {
            Err(unreachable())
        } else {
            match fate.mishap {
                Some(Mishap::Fails) => Err(Failure::new(format!("{host}: something went wrong"))),
                Some(Mishap::Hangs) => Err(unreachable()),
                Some(Mishap::Cut(after)) => inner.act(process, &effect, Some(after)),
                Some(Mishap::AnswerLost) => {
                    let _ = inner.act(process, &effect, None);
                    Err(unreachable())
                }
                None => inner.act(process, &effect, None),
            }
        }
    };
    let result = match (&effect.act, result) {
        (Act::AwaitHealthy { timeout_ms, monitor_ms, .. }, Ok(())) => {
            wait(&sim, &effect, *timeout_ms, *monitor_ms).await
        }
        (_, result) => result,
    };
    if matches!(fate.mishap, Some(Mishap::Hangs | Mishap::AnswerLost)) {
        Sim::sleep(PATIENCE_MS).await;
    }
    Sim::sleep(fate.after_ms).await;
    let heard = !sim.now().state.faults.unreachable.contains(&host);
    let result = if heard { result } else { Err(unreachable()) };
    {
        let mut inner = sim.now();
        let said = result.as_ref().err().map_or("ok", |failure| failure.what.as_str());
        inner.say(format_args!("p{process} {} on {host}: {said}", effect.act.name()));
        if undoes(&effect)
            && result.is_err()
            && let Some(process) = inner.processes.get_mut(&process)
        {
            process.undo_hindered = true;
        }
    }
    let _ = answer.send(result);
}

/// Looks again and again whether containers are healthy.
async fn wait(sim: &Sim, effect: &Effect, timeout_ms: u64, monitor_ms: u64) -> Result<(), Failure> {
    let bug = sim.now().bug;
    if bug == Some(Bug::SkipHealthWait) {
        return Ok(());
    }
    let (mut waited, mut good_for) = (0, None);
    loop {
        let verdict = sim.now().state.verdict(&effect.host, &effect.act);
        match verdict {
            None => return Ok(()),
            Some(Verdict::Hopeless(_)) if bug == Some(Bug::UnhealthyIsHealthy) => return Ok(()),
            Some(Verdict::Hopeless(failure)) => return Err(failure),
            Some(Verdict::Good) if good_for.unwrap_or(0) >= monitor_ms => return Ok(()),
            Some(Verdict::Good) => good_for = Some(good_for.unwrap_or(0) + POLL_MS),
            Some(Verdict::NotYet(failure)) if waited >= timeout_ms => return Err(failure),
            Some(Verdict::NotYet(_)) => good_for = None,
        }
        Sim::sleep(POLL_MS).await;
        waited += POLL_MS;
    }
}

/// Whether an effect is one that only an undoing has.
fn undoes(effect: &Effect) -> bool {
    match &effect.act {
        Act::RemoveBeside { .. }
        | Act::Recreate { compose: Some(_), .. }
        | Act::Start { compose: Some(_), .. } => true,
        Act::Route { renew, .. } => renew.values().any(|pick| matches!(pick, Pick::Only { .. })),
        _ => false,
    }
}

impl Inner {
    /// A process looks at a host.
    fn look(&mut self, process: u32, host: &str) -> Sight {
        let Some(found) = self.processes.get(&process) else {
            return self.probe(host, &Default::default());
        };
        let secrets = found.secrets.clone();
        if self.bug == Some(Bug::SkipSecondLook)
            && found.relooks
            && let Some(sight) = found.first_look.get(host)
        {
            return sight.clone();
        }
        let mut sight = self.probe(host, &secrets);
        let blind = matches!(sight, Sight::Blocked(_));
        if blind && self.bug == Some(Bug::UnknownIsAbsent) {
            sight = Sight::Seen(Box::default());
        }
        if let Some(found) = self.processes.get_mut(&process) {
            match blind {
                true => found.blind.insert(host.to_owned()),
                false => found.blind.remove(host),
            };
            found.first_look.insert(host.to_owned(), sight.clone());
        }
        sight
    }

    /// A process begins an effect: may it? And what will become of it?
    fn begin(&mut self, process: u32, effect: &Effect) -> Fate {
        let name = effect.act.name();
        self.say(format_args!("p{process} begins {name} on {}", effect.host));
        let undo = undoes(effect);
        let mut wrong = Vec::new();
        if let Some(found) = self.processes.get_mut(&process) {
            if self.shelf.holder != Some(process) {
                wrong.push(format!("p{process} writes without holding the lock"));
            }
            let recorded = found.recorded.and_then(|number| self.shelf.releases.get(&number));
            if recorded.is_none_or(|(_, by)| *by != process) {
                wrong.push(format!("p{process} changes something that is on no record of its own"));
            }
            let journal = found.journal.and_then(|number| self.shelf.journals.get(&number));
            let count = |event: &str| {
                let event = format!("\"event\":\"{event}\"");
                journal.into_iter().flatten().filter(|line| line.contains(&event)).count()
            };
            // While something is undone, an effect may be a part of that.
            if !undo && count("undoing") == count("undone") {
                found.begun += 1;
                if count("step_started") < found.begun {
                    wrong.push(format!("p{process} begins a step that is in no journal"));
                }
            }
            if found.blind.contains(&effect.host) {
                wrong.push(format!("p{process} writes to {}, which it has not seen", effect.host));
            }
        }
        for what in wrong {
            self.violate(what);
        }
        self.watch.begins(process);
        let bad = self.rng.chance(self.weather.effects);
        let mishap = bad.then(|| match self.rng.between(0, 5) {
            0 | 1 => Mishap::Fails,
            2 => Mishap::AnswerLost,
            3 => Mishap::Hangs,
            _ => Mishap::Cut(self.rng.between(0, 3) as u32),
        });
        if let Some(mishap) = mishap {
            self.say(format_args!("p{process} {name}: {mishap:?}"));
        }
        let slow = match effect.act {
            Act::PullImage { .. } => 3000,
            Act::Start { .. } | Act::Recreate { .. } | Act::Stop { .. } => 800,
            _ => 150,
        };
        Fate {
            before_ms: self.rng.between(20, slow),
            after_ms: self.rng.between(5, 60),
            mishap,
            goes_on: self.rng.chance(50),
        }
    }

    fn is_falling_back(&self, process: u32) -> bool {
        self.processes.get(&process).is_some_and(|found| found.falling_back)
    }

    /// An effect reaches its host.
    fn act(&mut self, process: u32, effect: &Effect, cut: Option<u32>) -> Result<(), Failure> {
        match (&effect.act, self.bug) {
            (Act::AwaitHealthy { .. }, _) => return Ok(()),
            (Act::Route { .. }, Some(Bug::SkipRoute)) => return Ok(()),
            (_, Some(Bug::ForgetFallback)) if self.is_falling_back(process) => return Ok(()),
            (_, Some(Bug::ForgetUndo)) if undoes(effect) => return Ok(()),
            (Act::Start { beside, .. }, Some(Bug::StopOldFirst)) => {
                let act = Act::Stop { containers: beside.clone(), drain_ms: 0, grace_s: 10 };
                let _ = self.perform(process, &Effect { host: effect.host.clone(), act }, None);
            }
            _ => {}
        }
        self.perform(process, effect, cut)
    }
}
