//! Progress: an apply's events while it runs, as lines, as a live display, or as JSON lines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use crate::model::{Address, Event, Failure, Kind, Outcome, Part, Summary};

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
    /// What of the environment is applied.
    part: Part,
    summary: Summary,
    steps: usize,
    done: usize,
    running: BTreeMap<usize, Running>,
    failed: Vec<(Address, Failure)>,
    undone: Vec<(Address, Option<Failure>)>,
    skipped: usize,
    not_begun: BTreeSet<Address>,
    paused: Option<Address>,
    fell_back: Option<(u64, Outcome)>,
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
            Event::Started { release, part, summary, steps } => {
                told.part = *part;
                told.summary = *summary;
                told.steps = *steps;
                let steps = count(*steps, "step");
                format!(
                    "Applying {} {release}: {} ({steps}).\n",
                    told.noun(),
                    words::to_do(summary)
                )
            }
            Event::StepStarted { step, address, act } => {
                let (address, act) = (address.clone(), act.clone());
                let running = Running { address, act, since: now, remind: now + REMIND };
                told.running.insert(*step, running);
                String::new()
            }
            Event::StepDone { step, address, act, took_ms, said } => {
                told.running.remove(step);
                told.done += 1;
                let took = paint.paint(Role::Dim, format!("({})", words::duration(*took_ms)));
                let said = error::detail_and_hint("      ", said, None, paint);
                format!("  {}: {} {took}\n{said}", name(address), words::did(act))
            }
            Event::StepPaused { step, address, .. } => {
                told.running.remove(step);
                told.paused = Some(address.clone());
                format!("  {}: waits for a confirmation\n", name(address))
            }
            Event::FallingBack { release, summary, steps } => {
                told.steps += steps;
                let steps = count(*steps, "step");
                let words = format!("Going back to release {release}: {}", words::to_do(summary));
                format!("{} ({steps}).\n", paint.paint(Role::Warn, words))
            }
            Event::FellBack { release, outcome, failure } => {
                told.fell_back = Some((*release, *outcome));
                match failure {
                    None => String::new(),
                    Some(failure) => {
                        let failed = paint.paint(Role::Error, "going back failed");
                        let (detail, hint) = (&failure.detail, failure.hint.as_deref());
                        let detail = error::detail_and_hint("      ", detail, hint, paint);
                        format!("  {failed}: {}\n{detail}", line(&failure.what))
                    }
                }
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
                let long = format!(" … {}", seconds(now.saturating_sub(running.since)));
                let act = words::doing(&running.act);
                let room = (live.width - 1).saturating_sub(text::width(&long));
                let what = format!("  {}: {act}", name(&running.address));
                fit(text::fit(&what, room) + &long)
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
    fn is_back(&self) -> bool {
        matches!(self.fell_back, Some((_, Outcome::Succeeded)))
    }

    /// What the records of this part are called.
    fn noun(&self) -> &'static str {
        match self.part {
            Part::Application | Part::Everything => "release",
            Part::Infrastructure | Part::Foundation | Part::NoInfrastructure { .. } => {
                "infrastructure change"
            }
        }
    }

    /// The last lines: what came of it, what failed, what was undone, what to do next.
    fn end(&self, release: u64, outcome: Outcome, took: &str, paint: Paint) -> String {
        let strong = |text: String| format!("\n{}\n", paint.paint(Role::Strong, text));
        let (word, hint) = match outcome {
            Outcome::Failed | Outcome::Interrupted if !self.part.has_application() => (
                outcome.name(),
                "mend what failed, and run it again: it goes on from what there is",
            ),
            Outcome::Succeeded => {
                let done = words::done(&self.summary);
                let noun = self.noun();
                return strong(format!("Apply complete in {took}: {noun} {release} ({done})."));
            }
            Outcome::Failed if self.is_back() => {
                ("failed", "mend what failed, then `stagecraft plan` and `stagecraft apply` again")
            }
            Outcome::Failed => (
                "failed",
                "`stagecraft plan` shows what is left, `stagecraft apply` goes on from there,\n\
                 `stagecraft rollback` goes back to an earlier release",
            ),
            Outcome::Interrupted => {
                ("stopped", "`stagecraft plan` shows what is left, `stagecraft apply` finishes it")
            }
            Outcome::Paused => (
                "paused",
                "look at the new containers; `stagecraft apply` goes on with the others,\n\
                 `stagecraft rollback` goes back to an earlier release",
            ),
            Outcome::Running => ("ended early", "`stagecraft plan` shows what is left"),
        };
        let outcome = outcome.name();
        let mut lines = strong(format!(
            "Apply {word} after {took}: {} {release} is recorded as {outcome}.",
            self.noun()
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
        match self.fell_back {
            Some((release, Outcome::Succeeded)) => {
                lines.push_str(&format!("  Everything is back as release {release} left it.\n"));
            }
            Some((release, _)) => {
                lines
                    .push_str(&format!("  Not everything is back as release {release} left it.\n"));
            }
            None => {}
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Output that the test can read while the reporter holds it.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A reporter, what it wrote, and its clock in seconds.
    struct Stage {
        reporter: Box<dyn Reporter>,
        out: Shared,
        now: Arc<AtomicU64>,
    }

    impl Stage {
        fn new(mode: Mode, paint: Paint) -> Self {
            let (out, now) = (Shared::default(), Arc::new(AtomicU64::new(0)));
            let clock = now.clone();
            let clock = Box::new(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
            let reporter = with_clock(mode, paint, Box::new(out.clone()), clock);
            Self { reporter, out, now }
        }
        fn tick(&mut self, seconds: u64) {
            self.now.store(seconds, Ordering::Relaxed);
            self.reporter.tick();
        }
        fn tell(&mut self, events: &[Event]) -> &mut Self {
            events.iter().for_each(|event| self.reporter.event(event));
            self
        }
        fn text(&self) -> String {
            String::from_utf8(self.out.0.lock().unwrap().clone()).unwrap()
        }
        /// What a terminal shows after all that was written.
        fn screen(&self) -> String {
            let mut lines: Vec<String> = vec![String::new()];
            let text = self.text();
            let mut rest = text.as_str();
            while let Some(c) = rest.chars().next() {
                if let Some(sequence) = rest.strip_prefix("\u{1b}[") {
                    let end = sequence.find('A').unwrap();
                    let up: usize = sequence[..end].parse().unwrap();
                    lines.truncate(lines.len() - up);
                    *lines.last_mut().unwrap() = String::new();
                    rest = sequence[end + 1..].strip_prefix("\r\u{1b}[J").unwrap();
                    continue;
                }
                match c {
                    '\n' => lines.push(String::new()),
                    c => lines.last_mut().unwrap().push(c),
                }
                rest = &rest[c.len_utf8()..];
            }
            lines.join("\n")
        }
    }

    fn api() -> Address {
        Address::service("app-1", "api")
    }

    fn started(steps: usize) -> Event {
        let summary = Summary { add: 2, change: 1, destroy: 0 };
        Event::Started { release: 4, part: Part::Application, summary, steps }
    }

    fn begin(step: usize, act: &str) -> Event {
        Event::StepStarted { step, address: api(), act: act.into() }
    }

    fn done(step: usize, act: &str, took_ms: u64) -> Event {
        Event::StepDone { step, address: api(), act: act.into(), took_ms, said: Vec::new() }
    }

    fn finished(outcome: Outcome) -> Event {
        Event::Finished { release: 4, outcome, took_ms: 12_300 }
    }

    fn unhealthy() -> Failure {
        Failure::new("shop-api-2 on app-1 exited with code 1")
            .detail(["Error: no \u{1b}[31mDATABASE_URL\u{1b}[0m", "\u{1b}[2J  at main.ts:3"])
            .hint("see its whole log with `stagecraft logs api`")
    }

    #[test]
    fn an_apply_that_goes_well() {
        let mut stage = Stage::new(Mode::Plain, Paint::PLAIN);
        stage.tell(&[started(2), begin(1, "pull"), done(1, "pull", 1240), begin(2, "start")]);
        stage.tell(&[done(2, "start", 400), finished(Outcome::Succeeded)]);
        insta::assert_snapshot!(stage.text(), @"
        Applying release 4: 2 to add, 1 to change, 0 to destroy (2 steps).
          service.app-1/api: image pulled (1.2s)
          service.app-1/api: started (0.4s)

        Apply complete in 12s: release 4 (2 added, 1 changed, 0 destroyed).
        ");
    }

    #[test]
    fn an_apply_that_fails_says_what_was_undone_and_what_is_left() {
        let other = Address::service("app-2", "api");
        let mut stage = Stage::new(Mode::Plain, Paint::PLAIN);
        stage.tell(&[
            started(5),
            begin(1, "start"),
            done(1, "start", 400),
            begin(2, "healthy"),
            Event::StepFailed {
                step: 2,
                address: api(),
                act: "healthy".into(),
                failure: unhealthy(),
            },
            Event::Undoing { address: api() },
            Event::Undone { address: api(), failure: None },
            Event::StepSkipped { step: 3, address: api() },
            Event::StepSkipped { step: 4, address: other },
            Event::StepSkipped { step: 5, address: Address::release("staging") },
            finished(Outcome::Failed),
        ]);
        insta::assert_snapshot!(stage.text(), @r"
        Applying release 4: 2 to add, 1 to change, 0 to destroy (5 steps).
          service.app-1/api: started (0.4s)
          service.app-1/api: waiting for health failed: shop-api-2 on app-1 exited with code 1
              | Error: no DATABASE_URL
              | \u{1b}[2J  at main.ts:3
              hint: see its whole log with `stagecraft logs api`
          service.app-1/api: undoing
          service.app-1/api: undone

        Apply failed after 12s: release 4 is recorded as failed.
          1 of 5 steps done, 1 failed, 3 not begun.
          service.app-1/api failed: shop-api-2 on app-1 exited with code 1
          service.app-1/api was put back as it was.
          Not begun: service.app-2/api.
        hint: `stagecraft plan` shows what is left, `stagecraft apply` goes on from there,
              `stagecraft rollback` goes back to an earlier release
        ");
    }

    #[test]
    fn an_undo_that_fails_is_told_twice() {
        let mut stage = Stage::new(Mode::Plain, Paint::PLAIN);
        stage.tell(&[
            started(2),
            Event::Undoing { address: api() },
            Event::Undone { address: api(), failure: Some(Failure::new("app-1 is gone")) },
            Event::Stopping,
            finished(Outcome::Interrupted),
        ]);
        insta::assert_snapshot!(stage.text(), @"
        Applying release 4: 2 to add, 1 to change, 0 to destroy (2 steps).
          service.app-1/api: undoing
          service.app-1/api: undoing failed: app-1 is gone
        Stopping: what runs is finished, nothing else is begun.

        Apply stopped after 12s: release 4 is recorded as interrupted.
          0 of 2 steps done.
          service.app-1/api could not be put back: app-1 is gone
        hint: `stagecraft plan` shows what is left, `stagecraft apply` finishes it
        ");
    }

    #[test]
    fn a_step_that_takes_long_is_spoken_of_ever_more_seldom() {
        let mut stage = Stage::new(Mode::Plain, Paint::PLAIN);
        stage.tell(&[begin(1, "healthy")]);
        (1..100).for_each(|second| stage.tick(second));
        insta::assert_snapshot!(stage.text(), @"
        service.app-1/api: still waiting for health (10s)
        service.app-1/api: still waiting for health (20s)
        service.app-1/api: still waiting for health (40s)
        service.app-1/api: still waiting for health (1m 20s)
        ");
    }

    #[test]
    fn a_live_display_shows_what_runs_below_what_is_done() {
        let mut stage = Stage::new(Mode::Live { width: 40 }, Paint::PLAIN);
        stage.tell(&[started(3), begin(1, "pull"), begin(2, "write")]);
        stage.tick(3);
        stage.tell(&[done(2, "write", 3100), begin(3, "healthy")]);
        stage.tick(65);
        insta::assert_snapshot!(stage.screen(), @"
        Applying release 4: 2 to add, 1 to change, 0 to destroy (3 steps).
          service.app-1/api: written (3.1s)
          service.app-1/api: pulling t… … 1m 5s
          service.app-1/api: waiting f… … 1m 2s
          1 of 3 steps done, 1m 5s
        ");
        assert!(stage.screen().lines().skip(1).all(|line| line.chars().count() < 40));
        stage.tell(&[done(1, "pull", 66_000), done(3, "healthy", 62_000)]);
        stage.tell(&[finished(Outcome::Succeeded)]);
        insta::assert_snapshot!(stage.screen(), @"
        Applying release 4: 2 to add, 1 to change, 0 to destroy (3 steps).
          service.app-1/api: written (3.1s)
          service.app-1/api: image pulled (1m 6s)
          service.app-1/api: healthy (1m 2s)

        Apply complete in 12s: release 4 (2 added, 1 changed, 0 destroyed).
        ");
    }

    #[test]
    fn many_running_steps_are_counted() {
        let mut stage = Stage::new(Mode::Live { width: 80 }, Paint::PLAIN);
        stage.tell(&(1..=20).map(|step| begin(step, "pull")).collect::<Vec<_>>());
        assert_eq!(stage.screen().lines().count(), SHOWN + 2);
        assert!(stage.screen().contains("\n  … and 8 more\n"), "{}", stage.screen());
    }

    #[test]
    fn colours_frame_words_and_logs_bring_none() {
        let mut stage = Stage::new(Mode::Plain, Paint::COLOR);
        let (act, failure) = ("healthy".into(), unhealthy());
        stage.tell(&[Event::StepFailed { step: 2, address: api(), act, failure }]);
        let text = stage.text();
        assert!(text.contains("\u{1b}[1m\u{1b}[31mwaiting for health failed\u{1b}[0m"), "{text:?}");
        assert!(text.contains("no DATABASE_URL\n"), "{text:?}");
        assert!(text.contains(r"\u{1b}[2J  at main.ts:3"), "{text:?}");
    }

    #[test]
    fn json_lines_read_back_as_events() {
        let events = [started(2), begin(1, "pull"), Event::Stopping, finished(Outcome::Failed)];
        let mut stage = Stage::new(Mode::Json, Paint::COLOR);
        stage.tell(&events);
        let text = stage.text();
        let back: Vec<Event> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(back, events);
        assert!(text.starts_with(r#"{"event":"started","release":4,"#), "{text}");
    }
}
