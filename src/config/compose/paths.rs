//! Relative paths into paths that start at the project's folder.

use std::path::{Path as FilePath, PathBuf};
use std::sync::LazyLock;

use super::files::{Files, join};
use super::path::Path;
use super::places::Places;
use super::problems::Problems;
use crate::config::diagnostic::Diagnostic;
use crate::config::yaml::{Map, Node, Value};

/// What resolves paths.
pub(super) struct Resolver<'a> {
    pub base: PathBuf,
    pub home: Option<&'a str>,
    pub files: &'a dyn Files,
    /// Whether a path that starts with a reference is left to the host.
    pub lenient: bool,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A path, or a list of those.
    Path,
    /// A path that may be a Windows one.
    Portable,
    /// A build context: a path, a URL or another service.
    Context,
    /// A path whose symbolic link is followed.
    Linked,
    /// A mount, whose source is a path where it is a bind.
    Mount,
    /// A volume that binds a path through its driver's options.
    Volume,
}

static PLACES: LazyLock<Places<Kind>> = LazyLock::new(|| {
    Places::new(&[
        ("services.*.build.context", Kind::Context),
        ("services.*.build.additional_contexts.*", Kind::Context),
        ("services.*.build.ssh.*", Kind::Portable),
        ("services.*.env_file.*.path", Kind::Path),
        ("services.*.label_file.*", Kind::Path),
        ("services.*.extends.file", Kind::Path),
        ("services.*.develop.watch.*.path", Kind::Linked),
        ("services.*.volumes.*", Kind::Mount),
        ("configs.*.file", Kind::Portable),
        ("secrets.*.file", Kind::Portable),
        ("volumes.*", Kind::Volume),
    ])
});

impl Resolver<'_> {
    /// Resolves every path below `node`.
    pub fn resolve(&self, node: &mut Node, problems: &mut Problems) {
        self.walk(node, &Path::ROOT, &PLACES, problems);
    }

    fn walk(&self, node: &mut Node, path: &Path, place: &Places<Kind>, problems: &mut Problems) {
        if let Some(kind) = place.here {
            let source = node.as_map().map(|map| (map.get("type"), map.get("source")));
            if let (Kind::Mount, Some((Some(mount), None))) = (kind, source)
                && mount.as_str() == Some("bind")
            {
                let message = format!("{path}: a bind mount needs a `source`");
                problems
                    .add(|| Diagnostic::error("compose::value", message).at(&node.span, "here"));
            }
            return self.apply(node, kind);
        }
        match &mut node.value {
            Value::Map(map) => {
                for (key, value) in map.iter_mut() {
                    if let Some(place) = place.key(key) {
                        self.walk(value, &path.key(key), place, problems);
                    }
                }
            }
            Value::List(items) => {
                let Some(place) = place.item() else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    self.walk(item, &path.index(index), place, problems);
                }
            }
            _ => {}
        }
    }

    fn apply(&self, node: &mut Node, kind: Kind) {
        match (kind, &mut node.value) {
            (Kind::Path, Value::List(items)) => {
                items.iter_mut().for_each(|item| self.apply(item, Kind::Path));
            }
            (Kind::Path, Value::String(text)) => self.absolute(text),
            (Kind::Portable, Value::String(text)) => self.portable(text),
            (Kind::Context, Value::String(text)) => {
                let remote = ["https://", "http://", "git://", "ssh://", "github.com/", "git@"];
                let is_path = !text.contains("://")
                    && !text.starts_with("service:")
                    && !remote.iter().any(|prefix| text.starts_with(prefix));
                if is_path {
                    self.absolute(text);
                }
            }
            (Kind::Linked, Value::String(text)) => {
                self.absolute(text);
                *text = self.files.follow_link(FilePath::new(text)).to_string_lossy().into_owned();
            }
            (Kind::Mount, Value::Map(map))
                if map.get("type").and_then(Node::as_str) == Some("bind") =>
            {
                self.entry(map, "source");
            }
            (Kind::Volume, Value::Map(map)) => {
                let local = map.get("driver").and_then(Node::as_str) == Some("local");
                if let Some(options) = map.get_mut("driver_opts").and_then(Node::as_map_mut)
                    && local
                    && options.get("o").and_then(Node::as_str) == Some("bind")
                {
                    self.entry(options, "device");
                }
            }
            _ => {}
        }
    }

    fn entry(&self, map: &mut Map, key: &str) {
        if let Some(Value::String(text)) = map.get_mut(key).map(|node| &mut node.value) {
            self.portable(text);
        }
    }

    fn absolute(&self, text: &mut String) {
        self.expand_home(text);
        if !text.is_empty() && !FilePath::new(text.as_str()).is_absolute() && !self.is_kept(text) {
            *text = join(&self.base, text).to_string_lossy().into_owned();
        }
    }

    fn portable(&self, text: &mut String) {
        self.expand_home(text);
        if !text.starts_with('/') && !is_windows_absolute(text) && !self.is_kept(text) {
            *text = join(&self.base, text).to_string_lossy().into_owned();
        }
    }

    fn expand_home(&self, text: &mut String) {
        if let (Some(rest), Some(home)) = (text.strip_prefix('~'), self.home) {
            let rest = rest.trim_start_matches('/');
            *text = join(FilePath::new(home), rest).to_string_lossy().into_owned();
        }
    }

    fn is_kept(&self, text: &str) -> bool {
        self.lenient && text.starts_with("${")
    }
}

/// `C:\x`, `C:/x` or `\\server\share\x`.
fn is_windows_absolute(text: &str) -> bool {
    let slash = |byte: u8| byte == b'/' || byte == b'\\';
    match text.as_bytes() {
        [drive, b':', next, ..] => drive.is_ascii_alphabetic() && slash(*next),
        [a, b, c, ..] => slash(*a) && slash(*b) && !slash(*c) && *c != b'.',
        _ => false,
    }
}
