//! Colours: which there are, and when they are used. Every text reads well without them.

use anstyle::{AnsiColor, Style};

/// What `--color` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// Colours on a terminal that can show them.
    #[default]
    Auto,
    /// Colours in any case.
    Always,
    /// No colours.
    Never,
}

impl ColorChoice {
    /// Whether to use colours, given whether the output is a terminal and a way to look up the
    /// environment. `CLICOLOR_FORCE` beats `NO_COLOR`, as both beat what the output is.
    pub fn paint(self, terminal: bool, env: impl Fn(&str) -> Option<String>) -> Paint {
        let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
        let not_zero =
            |name: &str| env(name).is_some_and(|value| !value.is_empty() && value != "0");
        let on = match self {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if not_zero("CLICOLOR_FORCE") => true,
            ColorChoice::Auto if set("NO_COLOR") => false,
            ColorChoice::Auto if env("CLICOLOR").as_deref() == Some("0") => false,
            ColorChoice::Auto => terminal && env("TERM").as_deref() != Some("dumb"),
        };
        if on { Paint::COLOR } else { Paint::PLAIN }
    }
}

/// What a piece of text is, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Something that is made.
    Add,
    /// Something that is changed.
    Change,
    /// Something that is taken away.
    Destroy,
    /// Something found otherwise than it was left, or that cannot be seen.
    Warn,
    /// An error.
    Error,
    /// What to do next.
    Hint,
    /// A heading or the line that matters most.
    Strong,
    /// What can be skipped while reading.
    Dim,
}

impl Role {
    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Role::Add => color(AnsiColor::Green),
            Role::Change => color(AnsiColor::Yellow),
            Role::Destroy => color(AnsiColor::Red),
            Role::Warn => color(AnsiColor::Magenta),
            Role::Error => color(AnsiColor::Red).bold(),
            Role::Hint => color(AnsiColor::Cyan),
            Role::Strong => Style::new().bold(),
            Role::Dim => Style::new().dimmed(),
        }
    }
}

/// Puts colours on text, or doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// No colours.
    pub const PLAIN: Paint = Paint { on: false };
    /// Colours.
    pub const COLOR: Paint = Paint { on: true };

    /// Whether there are colours.
    pub fn is_on(self) -> bool {
        self.on
    }

    /// The text in its role's colour.
    pub fn paint(self, role: Role, text: impl AsRef<str>) -> String {
        let text = text.as_ref();
        if !self.on || text.is_empty() {
            return text.to_owned();
        }
        let style = role.style();
        format!("{style}{text}{style:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(terminal: bool, env: &[(&str, &str)]) -> bool {
        let find = |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        ColorChoice::Auto.paint(terminal, find).is_on()
    }

    #[test]
    fn the_terminal_decides_unless_the_environment_does() {
        assert!(auto(true, &[]));
        assert!(!auto(false, &[]));
        assert!(!auto(true, &[("TERM", "dumb")]));
        assert!(!auto(true, &[("CLICOLOR", "0")]));
        assert!(!auto(true, &[("NO_COLOR", "1")]));
        assert!(auto(true, &[("NO_COLOR", "")]), "an empty NO_COLOR is none");
        assert!(auto(false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
        assert!(!auto(false, &[("CLICOLOR_FORCE", "0")]));
    }

    #[test]
    fn the_option_beats_the_environment() {
        let no_color = |name: &str| (name == "NO_COLOR").then(|| "1".to_owned());
        let force = |name: &str| (name == "CLICOLOR_FORCE").then(|| "1".to_owned());
        assert!(ColorChoice::Always.paint(false, no_color).is_on());
        assert!(!ColorChoice::Never.paint(true, force).is_on());
    }

    #[test]
    fn colours_end_where_they_began() {
        assert_eq!(Paint::COLOR.paint(Role::Add, "+"), "\u{1b}[32m+\u{1b}[0m");
        assert_eq!(Paint::PLAIN.paint(Role::Add, "+"), "+");
    }
}
