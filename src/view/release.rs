//! Releases: the list, and one in full.

use crate::model::{Outcome, Release};

use super::style::Role;
use super::table::{Cell, Table};
use super::{Options, error, text, words};

/// The list's headings.
pub(super) const HEAD: [&str; 8] =
    ["RELEASE", "WHEN", "VERSION", "OUTCOME", "CHANGES", "BY", "COMMIT", "NOTE"];

/// The releases as a table, in the order given.
pub fn list(releases: &[Release], options: &Options) -> String {
    if releases.is_empty() {
        return "No releases yet.\n".to_owned();
    }
    let mut table = Table::new(HEAD);
    for release in releases {
        table.row(row(release).into_iter().map(|(text, role)| Cell::new(text, role)));
    }
    table.text(options.paint)
}

/// A release as a row of the list.
pub(super) fn row(release: &Release) -> [(String, Option<Role>); 8] {
    let summary = release.summary;
    let note = match (release.reverts_to, &release.failure) {
        (Some(number), _) => format!("back to release {number}"),
        (None, Some(failure)) => text::fit(failure, 60),
        (None, None) => String::new(),
    };
    [
        (release.number.to_string(), None),
        (when(&release.started), None),
        (release.version.clone().unwrap_or_default(), None),
        (release.outcome.name().to_owned(), role(release.outcome)),
        (format!("+{} ~{} -{}", summary.add, summary.change, summary.destroy), None),
        (release.by.clone(), None),
        (release.commit.as_deref().map(commit).unwrap_or_default(), None),
        (note, None),
    ]
}

/// One release in full.
pub fn show(release: &Release, options: &Options) -> String {
    let paint = options.paint;
    let environment = text::line(&release.environment).into_owned();
    let mut out =
        paint.paint(Role::Strong, format!("Release {} of {environment}", release.number)) + "\n";
    let facts = facts(release);
    let width = facts.iter().map(|(name, ..)| text::width(name)).max().unwrap_or(0);
    for (name, value, role) in facts {
        let value = text::line(&value);
        let value = role.map_or(value.to_string(), |role| paint.paint(role, &value));
        out.push_str(&format!("  {}  {value}\n", text::pad(name, width)));
    }
    if !release.images.is_empty() {
        out.push_str("  images\n");
        for (image, pin) in &release.images {
            let exact = pin.digest.as_ref().unwrap_or(&pin.id);
            let exact = if options.verbose { exact.clone() } else { words::short(exact) };
            let line = format!("    {}  {}\n", text::line(image), text::line(&exact));
            out.push_str(&line);
        }
    }
    if options.verbose {
        for (name, digest) in [
            ("config digest", &release.config_digest),
            ("plan digest", &release.plan_digest),
            ("desired state", &release.desired),
        ] {
            out.push_str(&format!("  {}  {}\n", text::pad(name, width), text::line(digest)));
        }
        for (host, version) in &release.env_versions {
            out.push_str(&format!("  env on {}  {}\n", text::line(host), text::line(version)));
        }
    }
    if let Some(failure) = &release.failure {
        out.push_str(&error::message(failure, &[], None, paint));
    }
    out
}

/// What a release's page says, by name; the failure apart.
pub(super) fn facts(release: &Release) -> Vec<(&'static str, String, Option<Role>)> {
    let took = release.finished.as_deref().and_then(|end| took(&release.started, end));
    let ended = match took {
        Some(took) => format!("{} after {took}", release.outcome.name()),
        None => release.outcome.name().to_owned(),
    };
    let mut facts = vec![("outcome", ended, role(release.outcome))];
    let mut add =
        |name, value: Option<String>| facts.extend(value.map(|value| (name, value, None)));
    add("version", release.version.clone());
    add("reverts to", release.reverts_to.map(|number| format!("release {number}")));
    add("when", Some(when(&release.started)));
    add("by", Some(release.by.clone()));
    add("commit", release.commit.clone());
    add("hosts", (!release.hosts.is_empty()).then(|| release.hosts.join(", ")));
    add("planned", Some(words::to_do(&release.summary)));
    facts
}

fn role(outcome: Outcome) -> Option<Role> {
    match outcome {
        Outcome::Succeeded => Some(Role::Add),
        Outcome::Failed => Some(Role::Destroy),
        Outcome::Running | Outcome::Interrupted => Some(Role::Change),
    }
}

/// A time of the record (RFC 3339, UTC) to the minute.
pub(super) fn when(time: &str) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => text::line(time).into_owned(),
    }
}

fn took(started: &str, finished: &str) -> Option<String> {
    let started: jiff::Timestamp = started.parse().ok()?;
    let finished: jiff::Timestamp = finished.parse().ok()?;
    let span = finished.as_millisecond().checked_sub(started.as_millisecond())?;
    Some(words::duration(u64::try_from(span).ok()?))
}

/// A commit's first characters, and whether there were changes besides.
fn commit(commit: &str) -> String {
    let (hash, dirty) = match commit.strip_suffix("-dirty") {
        Some(hash) => (hash, "-dirty"),
        None => (commit, ""),
    };
    hash.chars().take(8).chain(dirty.chars()).collect()
}
