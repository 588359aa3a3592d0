//! Where in a Compose model a value stands, and which patterns that place matches.

use std::fmt;

/// A path from the root, kept on the stack while a tree is walked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
    depth: usize,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root, depth: 0 };

    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key), depth: self.depth + 1 }
    }

    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index), depth: self.depth + 1 }
    }

    /// Whether a dotted pattern describes this place; `*` stands for any one step.
    pub fn matches(&self, pattern: &str) -> bool {
        // Of a table's patterns nearly all end otherwise, and that is seen without taking them apart.
        let ends_alike = match self.step {
            Step::Key(key) => pattern.ends_with('*') || pattern.ends_with(key),
            Step::Index(_) => pattern.ends_with('*'),
            Step::Root => pattern.is_empty(),
        };
        if !ends_alike {
            return false;
        }
        let mut path = self;
        let mut parts = pattern.rsplit('.');
        loop {
            match (path.parent, parts.next()) {
                (None, None) => return true,
                (Some(parent), Some(part)) => {
                    let same = match path.step {
                        Step::Key(key) => part == "*" || part == key,
                        Step::Index(_) => part == "*",
                        Step::Root => false,
                    };
                    if !same {
                        return false;
                    }
                    path = parent;
                }
                _ => return false,
            }
        }
    }

    /// How many steps lead here.
    pub fn depth(&self) -> usize {
        self.depth
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        match self.step {
            Step::Key(key) if parent.depth == 0 => f.write_str(key),
            Step::Key(key) => write!(f, ".{key}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Root => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_step_by_step() {
        let services = Path::ROOT.key("services");
        let web = services.key("a.b");
        let ports = web.key("ports");
        let first = ports.index(0);
        assert!(web.matches("services.*") && ports.matches("services.*.ports"));
        assert!(first.matches("services.*.ports.*"));
        assert!(!web.matches("services") && !web.matches("services.*.*"));
        assert_eq!(first.to_string(), "services.a.b.ports[0]");
    }
}
