//! Reading files through one small door, so that tests, fuzzing and text from hosts need no disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

/// What the loader asks of a file system.
pub trait Files {
    /// A file's bytes.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Whether a file or folder is there.
    fn exists(&self, path: &Path) -> bool;

    /// Whether a folder is there.
    fn is_dir(&self, path: &Path) -> bool;

    /// The path with its first symbolic link followed, as Compose does for `develop.watch`.
    fn follow_link(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// This machine's disk. Relative paths start at `base`.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// Where relative paths start; empty for the process's own folder.
    pub base: PathBuf,
}

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(self.base.join(path))
    }

    fn exists(&self, path: &Path) -> bool {
        self.base.join(path).exists()
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.base.join(path).is_dir()
    }

    fn follow_link(&self, path: &Path) -> PathBuf {
        let mut prefix = PathBuf::new();
        let mut components = path.components();
        while let Some(component) = components.next() {
            prefix.push(component);
            let full = self.base.join(&prefix);
            if full.is_symlink() {
                return match full.canonicalize() {
                    Ok(target) => clean(&target.join(components.as_path())),
                    Err(_) => path.to_owned(),
                };
            }
        }
        path.to_owned()
    }
}

/// Files by path, in memory.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Memory {
    /// Files from paths and texts.
    pub fn new<P: Into<PathBuf>, T: Into<Vec<u8>>>(
        files: impl IntoIterator<Item = (P, T)>,
    ) -> Self {
        let files = files.into_iter().map(|(path, text)| (clean(&path.into()), text.into()));
        Self { files: files.collect() }
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(&clean(path)).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(&clean(path)) || self.is_dir(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        let path = clean(path);
        self.files.keys().any(|file| file.parent().is_some_and(|dir| dir.starts_with(&path)))
    }
}

/// A path without `.`, `..` and doubled slashes, worked out from its text alone (Go's `Clean`).
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => match out.components().next_back() {
                Some(Component::Normal(_)) => {
                    out.pop();
                }
                Some(Component::RootDir | Component::Prefix(_)) => {}
                _ => out.push(".."),
            },
            other => out.push(other),
        }
    }
    match out.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => out,
    }
}

/// A path under `base` unless it is absolute, cleaned (Go's `Join`).
pub fn join(base: &Path, path: &str) -> PathBuf {
    clean(&base.join(path))
}

/// How `base` would name `path` (Go's `Rel`); `None` where text alone can't tell.
pub fn relative(base: &Path, path: &Path) -> Option<PathBuf> {
    let (base, path) = (clean(base), clean(path));
    if base.is_absolute() != path.is_absolute() {
        return None;
    }
    let skip_dot = |path: &PathBuf| {
        path.components()
            .filter(|c| *c != Component::CurDir)
            .map(|c| c.as_os_str().to_owned())
            .collect()
    };
    let (base, path): (Vec<_>, Vec<_>) = (skip_dot(&base), skip_dot(&path));
    let shared = base.iter().zip(&path).take_while(|(a, b)| a == b).count();
    if base[shared..].iter().any(|part| part == "..") {
        return None;
    }
    let mut out: PathBuf = base[shared..].iter().map(|_| "..").collect();
    out.extend(&path[shared..]);
    Some(clean(&out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        for (path, cleaned) in [
            ("", "."),
            ("./a", "a"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("/../a", "/a"),
            ("a//b/", "a/b"),
            ("a/..", "."),
            ("a/../../b", "../b"),
        ] {
            assert_eq!(clean(Path::new(path)), PathBuf::from(cleaned), "{path}");
        }
        assert_eq!(join(Path::new("/p"), "./a"), PathBuf::from("/p/a"));
        assert_eq!(join(Path::new("/p"), "/a"), PathBuf::from("/a"));
        assert_eq!(relative(Path::new("/p"), Path::new("/p/a/b")), Some("a/b".into()));
        assert_eq!(relative(Path::new("/p/x"), Path::new("/p/a")), Some("../a".into()));
        assert_eq!(relative(Path::new("/p"), Path::new("/p")), Some(".".into()));
        assert_eq!(relative(Path::new("../x"), Path::new("a")), None);
    }

    #[test]
    fn memory_knows_its_folders() {
        let files = Memory::new([("a/b/c.yml", "x")]);
        assert!(files.is_dir(Path::new("a")) && files.is_dir(Path::new("./a/b")));
        assert!(files.exists(Path::new("a/b/../b/c.yml")) && !files.exists(Path::new("c.yml")));
        assert_eq!(files.read(Path::new("a/b/c.yml")).unwrap(), b"x");
    }
}
