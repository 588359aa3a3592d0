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
    let commands = release.commands.iter().map(|(service, run)| format!("{run} ({service})"));
    let commands: Vec<String> = commands.collect();
    add("ran", (!commands.is_empty()).then(|| commands.join(", ")));
    add(
        "went back",
        release.fell_back.as_ref().map(|back| match back.outcome {
            Outcome::Succeeded => format!("to release {}", back.release),
            _ => format!("to release {}, not wholly", back.release),
        }),
    );
    facts
}

fn role(outcome: Outcome) -> Option<Role> {
    match outcome {
        Outcome::Succeeded => Some(Role::Add),
        Outcome::Failed => Some(Role::Destroy),
        Outcome::Running | Outcome::Interrupted | Outcome::Paused => Some(Role::Change),
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

#[cfg(test)]
mod tests {
    use super::super::{markdown, sample};
    use super::*;

    fn releases() -> Vec<Release> {
        let mut failed = sample::release(2);
        failed.outcome = Outcome::Failed;
        failed.failure = Some("shop-api-2 on app-1 exited\nwith code | 1".into());
        failed.commit = Some("fedcba9876543210-dirty".into());
        let mut back = sample::release(10);
        back.reverts_to = Some(1);
        back.version = None;
        vec![back, failed, sample::release(1)]
    }

    #[test]
    fn the_list() {
        insta::assert_snapshot!(list(&releases(), &Options::default()), @r"
        RELEASE  WHEN                  VERSION  OUTCOME    CHANGES   BY          COMMIT          NOTE
        10       2026-03-01 09:15 UTC           succeeded  +2 ~1 -0  ana@laptop  01234567        back to release 1
        2        2026-03-01 09:15 UTC  v2       failed     +2 ~1 -0  ana@laptop  fedcba98-dirty  shop-api-2 on app-1 exited\nwith code | 1
        1        2026-03-01 09:15 UTC  v1       succeeded  +2 ~1 -0  ana@laptop  01234567
        ");
        assert_eq!(list(&[], &Options::default()), "No releases yet.\n");
    }

    #[test]
    fn the_list_in_markdown() {
        insta::assert_snapshot!(markdown::releases(&releases()), @r"
        | release | when | version | outcome | changes | by | commit | note |
        |---|---|---|---|---|---|---|---|
        | 10 | 2026-03-01 09:15 UTC |  | succeeded | +2 \~1 -0 | ana&#64;laptop | 01234567 | back to release 1 |
        | 2 | 2026-03-01 09:15 UTC | v2 | failed | +2 \~1 -0 | ana&#64;laptop | fedcba98-dirty | shop-api-2 on app-1 exited\\nwith code \| 1 |
        | 1 | 2026-03-01 09:15 UTC | v1 | succeeded | +2 \~1 -0 | ana&#64;laptop | 01234567 |  |
        ");
    }

    #[test]
    fn one_in_full() {
        insta::assert_snapshot!(show(&releases()[1], &Options::default()), @"
        Release 2 of staging
          outcome  failed after 42s
          version  v2
          when     2026-03-01 09:15 UTC
          by       ana@laptop
          commit   fedcba9876543210-dirty
          hosts    app-1, db-1
          planned  2 to add, 1 to change, 0 to destroy
          images
            ghcr.io/acme/shop/api:v2  sha256:111111111111
        error: shop-api-2 on app-1 exited
               with code | 1
        ");
        let verbose = show(&releases()[0], &Options { verbose: true, ..Options::default() });
        assert!(verbose.contains(&format!("env on app-1  {}\n", "f".repeat(64))), "{verbose}");
        assert!(verbose.contains("  reverts to  release 1\n"), "{verbose}");
    }

    #[test]
    fn one_in_markdown() {
        insta::assert_snapshot!(markdown::release(&releases()[1]), @r"
        ### Release 2 of `staging`

        - outcome: failed after 42s
        - version: v2
        - when: 2026-03-01 09:15 UTC
        - by: ana&#64;laptop
        - commit: fedcba9876543210-dirty
        - hosts: app-1, db-1
        - planned: 2 to add, 1 to change, 0 to destroy
        - failure: shop-api-2 on app-1 exited\\nwith code \| 1
        ");
    }

    #[test]
    fn a_time_that_is_none_is_shown_as_it_is() {
        assert_eq!(when("yesterday\u{7}"), r"yesterday\u{7}");
        assert_eq!(took("2026-03-01T09:15:00Z", "2026-03-01T09:14:00Z"), None);
    }
}
