//! What plan, apply, deploy and rollback share: showing a plan, asking, applying, reporting.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{Format, Global};
use crate::apply::{Answer, Ask};
use crate::engine::{Company, Engine, Planned, Problem};
use crate::model::{Failure, Outcome, Part, Plan, Request};
use crate::state::{Lock, StateError};
use crate::view::{self, progress};

/// Exit code of a process that was told twice to stop.
const INTERRUPTED: i32 = 130;

/// Writes a plan in the format that was asked for.
pub fn show(plan: &Plan, global: &Global) {
    let text = match global.format {
        Format::Text => view::plan::text(plan, &global.options()),
        Format::Json => view::json::plan(plan),
        Format::Markdown => view::markdown::plan(plan),
    };
    global.print(&text);
}

/// Plans what is asked for, shows it, asks, and applies it. Where nobody is to be asked, all of it is
/// done under the lock, and one look is enough.
pub async fn carry_out(
    engine: &Engine,
    request: &Request,
    global: &Global,
) -> Result<ExitCode, Problem> {
    if !global.yes || global.dry_run {
        return apply(engine, &engine.plan(request).await?, None, global).await;
    }
    let lock = match engine.lock(request).await {
        Ok(lock) => lock,
        Err(taken @ StateError::Locked { .. }) => return Err(taken.into()),
        // A host that can't be locked can mostly not be seen either, and a plan says that better.
        Err(_) => return apply(engine, &engine.plan(request).await?, None, global).await,
    };
    let planned = engine.plan(request).await;
    // What is below the application has a lock of its own, and comes before the hosts can be locked.
    let acts = |planned: &Planned| {
        planned.below.is_none() && !planned.plan.is_blocked() && !planned.plan.changes.is_empty()
    };
    match planned {
        Ok(planned) if acts(&planned) => apply(engine, &planned, Some(lock), global).await,
        planned => {
            let released = lock.release().await;
            let ended = apply(engine, &planned?, None, global).await;
            released?;
            ended
        }
    }
}

/// Shows a plan, asks, and applies it, under a lock that is held already if there is one.
pub async fn apply(
    engine: &Engine,
    planned: &Planned,
    lock: Option<Lock>,
    global: &Global,
) -> Result<ExitCode, Problem> {
    let plan = &planned.plan;
    global.warn(&planned.warnings);
    // JSON output of an apply is its events; the plan has a verb of its own.
    if global.format != Format::Json || plan.is_empty() || global.dry_run {
        show(plan, global);
    }
    if plan.is_blocked() {
        let hint = if !plan.request.part.has_application() || plan.blocked.is_empty() {
            "see what is blocked above"
        } else if plan.infrastructure.is_some() {
            "mend what is blocked; `stagecraft infra up` does what is below the application first"
        } else {
            "mend what is blocked; for a host that is gone for good, take it out of the configuration and \
             give `--forget HOST`"
        };
        let what = "nothing was changed: a part of the environment can't be planned";
        return Err(Failure::new(what).hint(hint).into());
    }
    if plan.is_empty() || global.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if !global.yes {
        confirm(plan, global)?;
    }
    let stop = stop_signals()?;
    let reporter = Arc::new(Mutex::new(reporter(global)));
    let ticking = reporter.clone();
    let asking = Arc::new(AtomicBool::new(false));
    let quiet = asking.clone();
    let ticker = tokio::spawn(async move {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            // A question must not be drawn over.
            if quiet.load(Ordering::Relaxed) {
                continue;
            }
            ticking.lock().unwrap_or_else(PoisonError::into_inner).tick();
        }
    });
    let mut tell = |event: &crate::model::Event| {
        reporter.lock().unwrap_or_else(PoisonError::into_inner).event(event);
    };
    let ask = ask(global, stop.clone(), asking);
    let company = Company { tell: &mut tell, stop, ask };
    let applied = match lock {
        Some(lock) => engine.apply_under(lock, planned, company).await,
        None => engine.apply(planned, company).await,
    };
    ticker.abort();
    Ok(match applied?.report.outcome {
        Outcome::Succeeded => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn reporter(global: &Global) -> Box<dyn progress::Reporter> {
    let mode = match global.format {
        Format::Json => progress::Mode::Json,
        Format::Text if std::io::stdout().is_terminal() => {
            let size = rustix::termios::tcgetwinsize(std::io::stdout());
            let columns = size.map_or(80, |size| usize::from(size.ws_col));
            progress::Mode::Live { width: columns }
        }
        _ => progress::Mode::Plain,
    };
    progress::reporter(mode, global.paint(), Box::new(std::io::stdout()))
}

/// Asks on the terminal whether a rollout may go on after its canary. Where there is no terminal,
/// or questions are unwanted, nobody is there who could say.
fn ask(global: &Global, stop: watch::Receiver<bool>, asking: Arc<AtomicBool>) -> Ask {
    let there = !global.yes && global.format == Format::Text && std::io::stdin().is_terminal();
    Arc::new(move |service, canary| {
        let (mut stop, asking) = (stop.clone(), asking.clone());
        Box::pin(async move {
            if !there {
                return Answer::Nobody;
            }
            asking.store(true, Ordering::Relaxed);
            let question = view::plan::go_on(&service, canary);
            let answer = tokio::task::spawn_blocking(move || read_answer(&question));
            let answer = tokio::select! {
                answer = answer => answer.unwrap_or(Answer::Nobody),
                // A closed channel never stops anything.
                Ok(_) = stop.wait_for(|stop| *stop) => Answer::Nobody,
            };
            asking.store(false, Ordering::Relaxed);
            answer
        })
    })
}

fn read_answer(question: &str) -> Answer {
    let mut out = std::io::stderr();
    let _ = out.write_all(question.as_bytes()).and_then(|()| out.flush());
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(0) | Err(_) => Answer::Nobody,
        Ok(_) if answer.trim() == "yes" => Answer::Yes,
        Ok(_) => Answer::No,
    }
}

fn confirm(plan: &Plan, global: &Global) -> Result<(), Problem> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("nobody is there to confirm the plan")
            .hint("give --yes to apply it without being asked")
            .into());
    }
    global.remark(&view::plan::question(plan));
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    // What destroys everything wants more than a `yes` by habit.
    let wanted = match plan.request.part {
        Part::NoInfrastructure { .. } => plan.environment.as_str(),
        _ => "yes",
    };
    match read.is_ok() && answer.trim() == wanted {
        true => Ok(()),
        false => Err(Failure::new("not confirmed: nothing was changed").into()),
    }
}

/// Turns true at the first signal that asks the process to end; a second one ends it at once.
fn stop_signals() -> Result<watch::Receiver<bool>, Problem> {
    let (sender, receiver) = watch::channel(false);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind)
            .map_err(|error| Failure::new(format!("signals can't be received: {error}")))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if sender.send_replace(true) {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    }
    Ok(receiver)
}
