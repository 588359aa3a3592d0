//! Progress: an apply's events while it runs, as lines, as a live display, or as JSON lines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use crate::model::{Address, Event, Failure, Kind, Outcome, Summary};

use super::style::{Paint, Role};
use super::text::{self, count, line};
use super::{error, json, words};

/// Hears an apply's events, in order.
pub trait Reporter: Send {
    /// Something happened.
    fn event(&mut self, event: &Event);
    /// Time has passed; to be called about every second, or never.
    fn tick(&mut self) {}
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A line for each step that is done.
    Plain,
    /// The same, and below it what runs now, on a terminal of so many columns.
    Live {
        /// The columns.
        width: usize,
    },
    /// Each event as JSON on a line of its own.
    Json,
}

/// Tells how long it has been since some beginning.
pub type Clock = Box<dyn Fn() -> Duration + Send>;

/// A reporter that writes to `out`. What cannot be written is lost: a closed pipe doesn't stop an
/// apply.
pub fn reporter(mode: Mode, paint: Paint, out: Box<dyn Write + Send>) -> Box<dyn Reporter> {
    let begin = Instant::now();
    with_clock(mode, paint, out, Box::new(move || begin.elapsed()))
}

/// A reporter with a clock of its own.
pub fn with_clock(
    mode: Mode,
    paint: Paint,
    out: Box<dyn Write + Send>,
    clock: Clock,
) -> Box<dyn Reporter> {
    match mode {
        Mode::Json => Box::new(JsonLines { out }),
        Mode::Plain => Box::new(Lines { out, paint, clock, live: None, told: Story::default() }),
        Mode::Live { width } => {
            let live = Some(Live { width: width.max(20), drawn: 0 });
            Box::new(Lines { out, paint, clock, live, told: Story::default() })
        }
    }
}

struct JsonLines {
    out: Box<dyn Write + Send>,
}

impl Reporter for JsonLines {
    fn event(&mut self, event: &Event) {
        let _ = self.out.write_all(json::event(event).as_bytes());
        let _ = self.out.flush();
    }
}

/// A step that runs.
struct Running {
    address: Address,
    act: String,
    since: Duration,
    /// When to say next that it still runs.
    remind: Duration,
}

/// What has been heard so far.
#[derive(Default)]
struct Story {
    summary: Summary,
    steps: usize,
    done: usize,
    running: BTreeMap<usize, Running>,
    failed: Vec<(Address, Failure)>,
    undone: Vec<(Address, Option<Failure>)>,
    skipped: usize,
    not_begun: BTreeSet<Address>,
}

/// The part of the display that is drawn anew.
struct Live {
    width: usize,
    drawn: usize,
}

struct Lines {
    out: Box<dyn Write + Send>,
    paint: Paint,
    clock: Clock,
    live: Option<Live>,
    told: Story,
}

/// How long a step runs before a line says so.
const REMIND: Duration = Duration::from_secs(10);
/// How many running steps a live display shows.
const SHOWN: usize = 12;

impl Reporter for Lines {
    fn event(&mut self, event: &Event) {
        let lines = self.tell(event);
        self.write(&lines, matches!(event, Event::Finished { .. }));
    }

    fn tick(&mut self) {
        let lines = if self.live.is_some() { String::new() } else { self.reminders() };
        if self.live.is_some() || !lines.is_empty() {
            self.write(&lines, false);
        }
    }
}

impl Lines {
    /// Takes an event in, and gives the lines that stay on the screen for it.
    fn tell(&mut self, event: &Event) -> String {
        let now = (self.clock)();
        let paint = self.paint;
        let told = &mut self.told;
        match event {
            Event::Started { release, summary, steps } => {
                told.summary = *summary;
                told.steps = *steps;
                let steps = count(*steps, "step");
                format!("Applying release {release}: {} ({steps}).\n", words::to_do(summary))
            }
            Event::StepStarted { step, address, act } => {
                let (address, act) = (address.clone(), act.clone());
                let running = Running { address, act, since: now, remind: now + REMIND };
                told.running.insert(*step, running);
                String::new()
            }
            Event::StepDone { step, address, act, took_ms } => {
                told.running.remove(step);
                told.done += 1;
                let took = paint.paint(Role::Dim, format!("({})", words::duration(*took_ms)));
                format!("  {}: {} {took}\n", name(address), words::did(act))
            }
            Event::StepFailed { step, address, act, failure } => {
                told.running.remove(step);
                let mut lines = format!("  {}: ", name(address));
                lines.push_str(&paint.paint(Role::Error, format!("{} failed", words::doing(act))));
                lines.push_str(&format!(": {}\n", line(&failure.what)));
                let (detail, hint) = (&failure.detail, failure.hint.as_deref());
                lines.push_str(&error::detail_and_hint("      ", detail, hint, paint));
                told.failed.push((address.clone(), failure.clone()));
                lines
            }
            Event::Undoing { address } => format!("  {}: undoing\n", name(address)),
            Event::Undone { address, failure } => {
                told.undone.push((address.clone(), failure.clone()));
                match failure {
                    None => format!("  {}: undone\n", name(address)),
                    Some(failure) => {
                        let failed = paint.paint(Role::Error, "undoing failed");
                        let (detail, hint) = (&failure.detail, failure.hint.as_deref());
                        format!(
                            "  {}: {failed}: {}\n{}",
                            name(address),
                            line(&failure.what),
                            error::detail_and_hint("      ", detail, hint, paint)
                        )
                    }
                }
            }
            Event::StepSkipped { address, .. } => {
                told.skipped += 1;
                told.not_begun.insert(address.clone());
                String::new()
            }
            Event::Stopping => {
                let stopping = "Stopping: what runs is finished, nothing else is begun.";
                paint.paint(Role::Warn, stopping) + "\n"
            }
            Event::Finished { release, outcome, took_ms } => {
                told.running.clear();
                told.end(*release, *outcome, &words::duration(*took_ms), paint)
            }
        }
    }

    /// A line for each step that has run long since it was last spoken of.
    fn reminders(&mut self) -> String {
        let now = (self.clock)();
        let mut lines = String::new();
        for running in self.told.running.values_mut().filter(|running| running.remind <= now) {
            let long = now.saturating_sub(running.since);
            // Each time after twice as long, so that a long wait doesn't fill a log.
            running.remind = running.since + long * 2;
            let text = format!("still {} ({})", words::doing(&running.act), seconds(long));
            lines.push_str(&format!("  {}: {text}\n", name(&running.address)));
        }
        lines
    }

    /// Writes lines that stay, and below them, on a terminal, what runs now.
    fn write(&mut self, lines: &str, last: bool) {
        let mut out = String::new();
        let display = if last { Vec::new() } else { self.display() };
        if let Some(live) = &mut self.live {
            if live.drawn > 0 {
                out.push_str(&format!("\u{1b}[{}A\r\u{1b}[J", live.drawn));
            }
            live.drawn = display.len();
        }
        out.push_str(lines);
        display.iter().for_each(|line| out.push_str(&format!("{line}\n")));
        let _ = self.out.write_all(out.as_bytes());
        let _ = self.out.flush();
    }

    /// What runs now, each on a line that fits.
    fn display(&self) -> Vec<String> {
        let (Some(live), running) = (&self.live, &self.told.running) else { return Vec::new() };
        if running.is_empty() {
            return Vec::new();
        }
        let now = (self.clock)();
        // The last column stays free: some terminals wrap when it is filled.
        let fit = |line: String| text::fit(&line, live.width - 1);
        let mut display: Vec<String> = running
            .values()
            .take(SHOWN)
            .map(|running| {
                let long = seconds(now.saturating_sub(running.since));
                let act = words::doing(&running.act);
                fit(format!("  {}: {act} … {long}", name(&running.address)))
            })
            .collect();
        if running.len() > SHOWN {
            display.push(fit(format!("  … and {} more", running.len() - SHOWN)));
        }
        let Story { done, steps, .. } = self.told;
        let all = fit(format!("  {done} of {} done, {}", count(steps, "step"), seconds(now)));
        display.push(self.paint.paint(Role::Dim, all));
        display
    }
}

impl Story {
    /// The last lines: what came of it, what failed, what was undone, what to do next.
    fn end(&self, release: u64, outcome: Outcome, took: &str, paint: Paint) -> String {
        let strong = |text: String| format!("\n{}\n", paint.paint(Role::Strong, text));
        let (word, hint) = match outcome {
            Outcome::Succeeded => {
                let done = words::done(&self.summary);
                return strong(format!("Apply complete in {took}: release {release} ({done})."));
            }
            Outcome::Failed => (
                "failed",
                "`stagecraft plan` shows what is left and `stagecraft apply` goes on from there; \
                 `stagecraft rollback` goes back to an earlier release",
            ),
            Outcome::Interrupted => {
                ("stopped", "`stagecraft plan` shows what is left, `stagecraft apply` finishes it")
            }
            Outcome::Running => ("ended early", "`stagecraft plan` shows what is left"),
        };
        let outcome = outcome.name();
        let mut lines = strong(format!(
            "Apply {word} after {took}: release {release} is recorded as {outcome}."
        ));
        let mut numbers = vec![format!("{} of {} done", self.done, count(self.steps, "step"))];
        if !self.failed.is_empty() {
            numbers.push(format!("{} failed", self.failed.len()));
        }
        if self.skipped > 0 {
            numbers.push(format!("{} not begun", self.skipped));
        }
        lines.push_str(&format!("  {}.\n", numbers.join(", ")));
        for (address, failure) in &self.failed {
            let failed = paint.paint(Role::Error, "failed");
            lines.push_str(&format!("  {} {failed}: {}\n", name(address), line(&failure.what)));
        }
        for (address, failure) in &self.undone {
            let address = name(address);
            lines.push_str(&match failure {
                None => format!("  {address} was put back as it was.\n"),
                Some(failure) => {
                    format!("  {address} could not be put back: {}\n", line(&failure.what))
                }
            });
        }
        let begun: BTreeSet<&Address> = self.failed.iter().map(|(address, _)| address).collect();
        let left: Vec<String> = self
            .not_begun
            .iter()
            .filter(|address| !begun.contains(address) && address.kind() != Kind::Release)
            .map(Address::to_string)
            .collect();
        if !left.is_empty() {
            lines.push_str(&format!("  Not begun: {}.\n", text::some(left)));
        }
        lines.push_str(&error::detail_and_hint("", &[], Some(hint), paint));
        lines
    }
}

fn name(address: &Address) -> String {
    line(&address.to_string()).into_owned()
}

/// Whole seconds: tenths would flicker.
fn seconds(span: Duration) -> String {
    words::duration(span.as_secs() * 1000)
}
