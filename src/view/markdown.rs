//! Markdown, for pull-request comments and job summaries: what a plan comes to, its changes, and
//! the diffs folded away.

use crate::model::{Action, BlockedEntry, Change, Plan, Release};

use super::plan::{self, gist};
use super::status::Status;
use super::table::{Cell, Table};
use super::{Options, Paint, error, release, text, words};

/// How long a comment may become: GitHub takes 65,536 characters.
const LONGEST: usize = 60_000;
/// How much of that the list of changes may take.
const LONGEST_LIST: usize = 30_000;

/// A plan as a pull-request comment.
pub fn plan(plan: &Plan) -> String {
    let mut out = format!("### Stagecraft: {}\n\n", code(&plan.environment));
    out.push_str(&format!("**{}**\n", escape(&plan::summary(plan))));
    if let Some(number) = plan.request.rollback_to {
        out.push_str(&format!("\nGoes back to release {number}.\n"));
    } else if let Some(version) = plan.version.as_ref().filter(|_| !plan.changes.is_empty()) {
        out.push_str(&format!("\nDeploys {}.\n", code(version)));
    }
    if plan.is_blocked() {
        out.push_str("\n#### Blocked; nothing is planned for these\n\n");
        let blocked = plan.parts().flat_map(|part| &part.blocked);
        blocked.for_each(|entry| out.push_str(&blocked_item(entry)));
    }
    if plan.parts().any(|part| !part.changes.is_empty()) {
        out.push_str("\n| | Resource | What and why |\n|---|---|---|\n");
        for part in plan.parts() {
            list(&mut out, part, &plan::View::new(part, Options::default()));
        }
    }
    for part in plan.parts() {
        for note in &part.notes {
            out.push_str(&format!("\n> {}\n", escape(&words::note(note, part))));
        }
    }
    out.extend(plan::fallback(plan).map(|words| format!("\n{}\n", escape(words.trim_end()))));
    for part in plan.parts() {
        details(&mut out, part);
    }
    out
}

fn blocked_item(entry: &BlockedEntry) -> String {
    let (what, hint) = words::blocked(&entry.address, &entry.blocked);
    let mut lines = vec![format!("{}: {}", code(&entry.address.to_string()), escape(&what))];
    lines.extend(text::block(&entry.blocked.detail).map(|detail| code(&detail)));
    lines.push(format!("Hint: {}", hint_text(&hint)));
    format!("- {}\n", lines.join("<br>\n  "))
}

fn list(out: &mut String, plan: &Plan, view: &plan::View) {
    for (at, change) in plan.changes.iter().enumerate() {
        let row = format!(
            "| {} | {} | {} |\n",
            code(plan::symbol(change.action)),
            cell(&change.address.to_string()),
            what(change, plan, view)
        );
        if out.len() + row.len() > LONGEST_LIST {
            let left = text::count(plan.changes.len() - at, "more change");
            out.push_str(&format!("\n… and {left}, left out here for length.\n"));
            return;
        }
        out.push_str(&row);
    }
}

/// What happens to a resource and why, as one cell of the table.
fn what(change: &Change, plan: &Plan, view: &plan::View) -> String {
    let steps = view.steps(change);
    let mut parts: Vec<String> = Vec::new();
    match view.brief(change) {
        Some(brief) => parts.push(escape(&brief)),
        None => {
            let causes = change.causes.iter().map(|cause| escape(&words::cause(cause, plan)));
            parts.push(causes.collect::<Vec<_>>().join("; "));
            match &change.rollout {
                Some(rollout) => parts.push(escape(&words::rollout(rollout, steps))),
                None if change.action == Action::Create => parts.push(escape(&gist(change, steps))),
                None => {}
            }
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("<br>")
}

/// Fields and diffs, each resource's folded under its address, as many as there is room for.
fn details(out: &mut String, plan: &Plan) {
    let mut left_out = 0;
    let wanted = |change: &&Change| {
        !matches!(change.action, Action::Create | Action::Delete)
            && (!change.fields.is_empty() || change.diff.is_some())
    };
    for change in plan.changes.iter().filter(wanted) {
        if left_out > 0 {
            left_out += 1;
            continue;
        }
        let address = change.address.to_string();
        let fields: Vec<String> = change
            .fields
            .iter()
            .map(|field| {
                let (symbol, _, values) = plan::values(field);
                format!("{} {}: {values}", symbol.replace('~', "!"), text::line(&field.path))
            })
            .collect();
        let diff = change.diff.iter().flat_map(|diff| text::block(diff));
        let body: Vec<String> = fields.into_iter().chain(diff).collect();
        let block = format!(
            "\n<details><summary><code>{}</code></summary>\n\n{}\n</details>\n",
            html(&address),
            fenced("diff", &body)
        );
        if out.len() + block.len() > LONGEST {
            left_out += 1;
        } else {
            out.push_str(&block);
        }
    }
    if left_out > 0 {
        let left = text::count(left_out, "more diff");
        out.push_str(&format!("\n… and {left}, left out here for length.\n"));
    }
}

/// A block of code whose fence is longer than any in it.
fn fenced(language: &str, lines: &[String]) -> String {
    let longest = lines.iter().map(|line| ticks(line)).max().unwrap_or(0);
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}{language}\n{}\n{fence}\n", lines.join("\n"))
}

/// The longest run of back quotes in a text.
fn ticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A text as code within a line.
fn code(text: &str) -> String {
    let text = text::line(text);
    let fence = "`".repeat(ticks(&text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// A text as code within a table, where a bar would end the cell.
fn cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// A text in which nothing is a mark, a tag or a mention.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("&#64;"),
            '\n' => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

fn html(text: &str) -> String {
    text::line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A hint, whose own back quotes mark code.
fn hint_text(hint: &str) -> String {
    hint.split('`')
        .enumerate()
        .map(|(at, part)| if at % 2 == 1 { code(part) } else { escape(part) })
        .collect()
}

/// Releases as a table, in the order given.
pub fn releases(releases: &[Release]) -> String {
    let mut table = Table::new(release::HEAD);
    for row in releases {
        table.row(release::row(row).into_iter().map(|(text, role)| Cell::new(text, role)));
    }
    table.markdown()
}

/// One release, field by field.
pub fn release(release: &Release) -> String {
    let mut out = format!("### Release {} of {}\n\n", release.number, code(&release.environment));
    for (name, value, _) in release::facts(release) {
        out.push_str(&format!("- {name}: {}\n", escape(&value)));
    }
    if let Some(failure) = &release.failure {
        out.push_str(&format!("- failure: {}\n", escape(&text::line(failure))));
    }
    out
}

/// What runs beside what should, as a table, and what is blocked.
pub fn status(status: &Status) -> String {
    let mut out = format!("### {}\n\n", escape(&status.headline()));
    out.push_str(&status.table(false).markdown());
    let blocked: Vec<BlockedEntry> = status.blocked().collect();
    if !blocked.is_empty() {
        out.push('\n');
    }
    blocked.iter().for_each(|entry| out.push_str(&blocked_item(entry)));
    out
}

/// An error, as a comment shows it.
pub fn failure(failure: &crate::model::Failure) -> String {
    let lines: Vec<String> =
        error::failure(failure, Paint::PLAIN).lines().map(Into::into).collect();
    format!("### Stagecraft failed\n\n{}", fenced("", &lines))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sample::*;
    use super::*;
    use crate::model::{Address, Blocked, BlockedReason, Cause, Note};

    #[test]
    fn a_plan_as_a_comment() {
        insta::assert_snapshot!(plan(&new_image()), @r#"
        ### Stagecraft: `staging`

        **Plan: 0 to add, 2 to change, 0 to destroy.**

        Deploys `v2`.

        | | Resource | What and why |
        |---|---|---|
        | `~` | `file.app-1/compose.yml` | its configuration changed |
        | `~` | `service.app-1/api` | its configuration changed<br>start-first: 1 new beside 1 old, wait for health (30s), then stop shop-api-1 |
        | `+` | `release.staging` | recorded as release 4 |

        <details><summary><code>file.app-1/compose.yml</code></summary>

        ```diff
        --- compose.yml
        +++ compose.yml
        @@ -1,3 +1,3 @@
         services:
           api:
        -    image: ghcr.io/acme/shop/api:v1
        +    image: ghcr.io/acme/shop/api:v2
        ```

        </details>

        <details><summary><code>service.app-1/api</code></summary>

        ```diff
        ! image: "ghcr.io/acme/shop/api:v1" -> "ghcr.io/acme/shop/api:v2"
        ```

        </details>
        "#);
    }

    #[test]
    fn what_is_blocked_comes_first() {
        let mut blocked = empty();
        blocked.blocked = vec![BlockedEntry {
            address: Address::host("app-2"),
            blocked: Blocked {
                reason: BlockedReason::Unreachable,
                detail: "ssh: `timed` out".into(),
            },
        }];
        blocked.notes = vec![Note::Stranger { host: "app-1".into(), name: "a_b".into() }];
        insta::assert_snapshot!(plan(&blocked), @r"
        ### Stagecraft: `staging`

        **No changes in what could be seen of staging. 1 host is blocked.**

        #### Blocked; nothing is planned for these

        - `host.app-2`: app-2 can't be reached<br>
          ``ssh: `timed` out``<br>
          Hint: see that it is on and that `ssh app-2` connects, then plan again

        > a\_b on app-1 has one of our names but not our mark; it is left alone.
        ");
    }

    #[test]
    fn nothing_from_outside_is_markup() {
        let evil = "</code>|<img src=x>@all `x` *b*\n# h";
        let mut drifted = change(
            Address::service("app-1", evil),
            crate::model::Action::Update,
            Cause::Drifted { what: evil.into() },
        );
        drifted.fields = vec![field("x", json!("```"), json!("````"))];
        let text = plan(&plan_of(vec![drifted], vec![]));
        assert!(!text.contains("<img src=x>@all `x` *b*\n"), "{text}");
        assert!(text.contains("\n`````diff\n! x: \"```\" -> \"````\"\n`````\n"), "{text}");
        let row = text.lines().find(|line| line.starts_with("| `~`")).unwrap();
        assert_eq!(row.replace("\\|", "").matches('|').count(), 4, "{row}");
        let cause = row.rsplit(" | ").next().unwrap();
        assert!(!cause.contains('<') && !cause.contains('@'), "{cause}");
    }

    #[test]
    fn a_comment_stays_as_short_as_a_comment_may_be() {
        let address = |n: usize| Address::service("app-1", &format!("service-{n}"));
        let changes = (0..2000).map(|n| {
            let mut one = change(address(n), crate::model::Action::Update, Cause::Changed);
            one.diff = Some("+x\n".repeat(1000));
            one
        });
        let text = plan(&plan_of(changes.collect(), vec![]));
        assert!(text.chars().count() < 65_000, "{}", text.len());
        assert!(text.contains(" more changes, left out here for length.\n"), "{text}");
        assert!(text.ends_with(" more diffs, left out here for length.\n"), "{text}");
    }

    #[test]
    fn a_failure_keeps_its_lines() {
        let failed = crate::model::Failure::new("x").detail(["```"]);
        let expected = "### Stagecraft failed\n\n````\nerror: x\n| ```\n````\n";
        assert_eq!(failure(&failed), expected);
    }
}
