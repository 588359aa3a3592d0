use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::*;
use crate::config::compose::Memory;
use crate::config::diagnostic::Diagnostic;

const FULL: &str = include_str!("../../../fixtures/config/full.yml");
const TEN_MISTAKES: &str = include_str!("../../../fixtures/config/ten-mistakes.yml");

fn read(text: &str) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    load(Path::new("stagecraft.yml"), &Memory::new([("stagecraft.yml", text)]))
}

fn good(text: &str) -> Config {
    match read(text) {
        Ok((config, _)) => config,
        Err(problems) => panic!("refused:\n{}", shown(&problems)),
    }
}

/// What a person would see.
fn shown(problems: &[Diagnostic]) -> String {
    let handler =
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(90);
    let mut text = String::new();
    for problem in problems {
        handler.render_report(&mut text, problem).unwrap();
    }
    text
}

/// One line for each problem: where, what, and what to do.
fn brief(problems: &[Diagnostic]) -> String {
    let lines = problems.iter().map(|problem| {
        let at = problem.at.as_ref().map_or(String::from("-"), |(span, label)| {
            let line = span.source.text[..span.range.start].matches('\n').count() + 1;
            format!("{line} `{}` {label}", &span.source.text[span.range.clone()])
        });
        let help = problem.help.as_deref().unwrap_or("-");
        format!("{at} | {} | {} | {help}\n", problem.code, problem.message)
    });
    lines.collect()
}

fn wrong(text: &str) -> String {
    match read(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => brief(&problems),
    }
}

#[test]
fn every_key_works() {
    let config = good(FULL);
    assert_eq!(
        config.environments().collect::<Vec<_>>(),
        ["dev", "production", "sandbox", "staging"]
    );
    assert_eq!(config.file.compose.len(), 2);
}

#[test]
fn the_reference_loads() {
    let Ok(text) = std::fs::read_to_string("../shared/reference/stagecraft-yml.md") else { return };
    let sample = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = good(sample);
    let staging = config.environment("staging").unwrap();
    assert_eq!(staging.services["api"].hosts, ["staging-1"]);
    assert_eq!(staging.variables["SHOP_ENV_FILE"], "/etc/shop/env");
}

#[test]
fn ten_mistakes_are_reported_in_one_run() {
    insta::assert_snapshot!(shown(&read(TEN_MISTAKES).unwrap_err()), @r#"
        config::missing-key

          × `project` has no `name`
           ╭─[stagecraft.yml:1:10]
         1 │ project: { nam: kiosk }
           ·          ───────┬──────
           ·                 ╰── `name` belongs here
         2 │ hosts:
           ╰────
        config::unknown-key

          × unknown key `nam`
           ╭─[stagecraft.yml:1:12]
         1 │ project: { nam: kiosk }
           ·            ─┬─
           ·             ╰── not a key of `project`
         2 │ hosts:
           ╰────
          help: did you mean `name`?
        config::value

          × `hosts.app.port` is out of range
           ╭─[stagecraft.yml:3:37]
         2 │ hosts:
         3 │   app: [app-1, { name: app-2, port: 70000 }]
           ·                                     ──┬──
           ·                                       ╰── this value
         4 │   db: [{ name: app-1, address: 10.0.0.1 }]
           ╰────
          help: use 1 to 65535
        config::host-conflict

          × the host `app-1` has two different addresses
           ╭─[stagecraft.yml:5:37]
         4 │   db: [{ name: app-1, address: 10.0.0.1 }]
         5 │   gateway: [{ name: app-1, address: 10.0.0.2 }]
           ·                                     ────┬───
           ·                                         ╰── the other stands elsewhere under `hosts`
         6 │   cache: []
           ╰────
          help: describe the host in one role and give only its name in the others
        config::value

          × `hosts.cache` is empty
           ╭─[stagecraft.yml:6:10]
         5 │   gateway: [{ name: app-1, address: 10.0.0.2 }]
         6 │   cache: []
           ·          ─┬
           ·           ╰── this value
         7 │ services:
           ╰────
          help: name at least one
        config::unknown-role

          × the service `api` has the unknown role `ap`
           ╭─[stagecraft.yml:8:16]
         7 │ services:
         8 │   api: { role: ap, rollout: { health_timeout: [60s], order: start-frist } }
           ·                ─┬
           ·                 ╰── no host has this role
         9 │   ../etc: { role: app }
           ╰────
          help: did you mean `app`?
        config::type

          × `services.api.rollout.health_timeout` must be a duration such as `30s`, not a list
           ╭─[stagecraft.yml:8:47]
         7 │ services:
         8 │   api: { role: ap, rollout: { health_timeout: [60s], order: start-frist } }
           ·                                               ──┬──
           ·                                                 ╰── a list
         9 │   ../etc: { role: app }
           ╰────
        config::value

          × `services.api.rollout.order` does not know `start-frist`
           ╭─[stagecraft.yml:8:61]
         7 │ services:
         8 │   api: { role: ap, rollout: { health_timeout: [60s], order: start-frist } }
           ·                                                             ─────┬─────
           ·                                                                  ╰── this value
         9 │   ../etc: { role: app }
           ╰────
          help: did you mean `start-first`?
        config::name

          × `../etc` is not a name
            ╭─[stagecraft.yml:9:3]
          8 │   api: { role: ap, rollout: { health_timeout: [60s], order: start-frist } }
          9 │   ../etc: { role: app }
            ·   ───┬──
            ·      ╰── this key
         10 │ environments:
            ╰────
          help: use letters, digits, `.`, `_` and `-`, beginning with a letter or digit
        config::type

          × `environments.staging.protect` must be `true` or `false`, not a string
            ╭─[stagecraft.yml:11:23]
         10 │ environments:
         11 │   staging: { protect: maybe }
            ·                       ──┬──
            ·                         ╰── a string
         12 │   staging: { world: simulated }
            ╰────
        yaml::duplicate-key

          × key `staging` is already defined at line 11
            ╭─[stagecraft.yml:12:3]
         11 │   staging: { protect: maybe }
         12 │   staging: { world: simulated }
            ·   ───┬───
            ·      ╰── defined again
            ╰────
        "#);
}
