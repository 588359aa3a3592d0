//! Keys by which `ssh` knows machines. They are made before the machines are: the private half goes along
//! with the order, as data for cloud-init, and the public half is a tag of the machine. So whoever may ask
//! the API knows every machine's key, and nobody has to trust a machine at first sight.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::world::shell::random_hex;

/// No mark begins so.
const TAG: &str = "stagecraft-hostkey:";
const KIND: &str = "ssh-ed25519";
/// What the folders' names begin with in which pairs are made.
const FOLDER: &str = "stagecraft-hostkey-";
/// How old such a folder is that nobody needs any more.
const OLD: Duration = Duration::from_secs(60);

/// A key pair.
pub struct HostKey {
    private: String,
    /// The public half in base64, as `known_hosts` has it.
    public: String,
}

impl HostKey {
    /// Makes a pair.
    ///
    /// # Errors
    /// Why `ssh-keygen` could not.
    pub fn new() -> Result<Self, String> {
        let name = random_hex(8).map_err(|error| error.to_string())?;
        remove_leftovers(&std::env::temp_dir());
        let folder = std::env::temp_dir().join(format!("{FOLDER}{name}"));
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| format!("{}: {error}", folder.display()))?;
        let pair = generate(&folder.join("key"));
        let removed = fs::remove_dir_all(&folder);
        let pair = pair?;
        removed.map_err(|error| format!("{} is still there: {error}", folder.display()))?;
        Ok(pair)
    }

    /// What cloud-init reads: the machine's only host key is this one.
    /// Source: cloudinit.readthedocs.io, module `ssh`.
    pub fn user_data(&self) -> String {
        let private: String = self.private.lines().map(|line| format!("    {line}\n")).collect();
        format!(
            "#cloud-config\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n{private}  \
             ed25519_public: {KIND} {}\n",
            self.public
        )
    }

    /// The tag that says the public half. Tags have no `+` and no `/`.
    pub fn tag(&self) -> String {
        format!("{TAG}{}", self.public.replace('+', "-").replace('/', "_"))
    }
}

/// Removes what runs have left that were killed while they made a key.
fn remove_leftovers(place: &std::path::Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(FOLDER);
        let age = entry.metadata().and_then(|found| found.modified()).map(|time| time.elapsed());
        // Somebody may be making one just now; and what is another user's can't be removed.
        if is_ours && age.is_ok_and(|age| age.is_ok_and(|age| age > OLD)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn generate(path: &std::path::Path) -> Result<HostKey, String> {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`ssh-keygen` can't be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("`ssh-keygen`: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let read = |path| fs::read_to_string(path).map_err(|error| format!("`ssh-keygen`: {error}"));
    let public = read(path.with_extension("pub"))?;
    let public = public.split_whitespace().nth(1).unwrap_or_default().to_owned();
    Ok(HostKey { private: read(path.to_owned())?, public })
}

/// The tag that says a public key, which is given as a line of `known_hosts` or of a `.pub` file has it.
pub fn tag_of(key: &str) -> Option<String> {
    let mut words = key.split_whitespace().skip_while(|word| *word != KIND).skip(1);
    let tag = format!("{TAG}{}", words.next()?.replace('+', "-").replace('/', "_"));
    of_tag(&tag).map(|_| tag)
}

/// Whether a tag says a machine's key.
pub fn is_tag(tag: &str) -> bool {
    tag.starts_with(TAG)
}

/// The public key that a tag says, as `known_hosts` has it.
pub fn of_tag(tag: &str) -> Option<String> {
    let key = tag.strip_prefix(TAG)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let key = key.replace('-', "+").replace('_', "/");
    tag[TAG.len()..].chars().all(plain).then(|| format!("{KIND} {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_the_key_that_the_machine_gets() {
        let key = HostKey { private: "a\nb\n".into(), public: "AAAA+b/c".into() };
        assert_eq!(key.tag(), "stagecraft-hostkey:AAAA-b_c");
        assert_eq!(of_tag(&key.tag()).as_deref(), Some("ssh-ed25519 AAAA+b/c"));
        let data = key.user_data();
        assert!(data.contains("ed25519_private: |\n    a\n    b\n"), "{data}");
        assert!(data.ends_with("ed25519_public: ssh-ed25519 AAAA+b/c\n"), "{data}");
    }

    #[test]
    fn what_a_killed_run_has_left_is_removed_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str, old: bool| {
            let folder = place.path().join(name);
            fs::create_dir(&folder).unwrap();
            if old {
                let time = std::time::SystemTime::now() - 2 * OLD;
                fs::File::open(&folder).unwrap().set_modified(time).unwrap();
            }
        };
        make("stagecraft-hostkey-1", true);
        make("stagecraft-hostkey-2", false);
        make("theirs", true);
        remove_leftovers(place.path());
        let left = fs::read_dir(place.path()).unwrap().map(|it| it.unwrap().file_name());
        let left: std::collections::BTreeSet<_> = left.collect();
        assert_eq!(left, ["stagecraft-hostkey-2", "theirs"].map(Into::into).into());
    }

    #[test]
    fn a_key_is_taken_as_files_have_it() {
        for line in ["ssh-ed25519 AAAA+b/c root@app-1", "app-1 ssh-ed25519 AAAA+b/c"] {
            assert_eq!(tag_of(line).as_deref(), Some("stagecraft-hostkey:AAAA-b_c"), "{line}");
        }
        for line in ["ssh-rsa AAAA", "ssh-ed25519", "ssh-ed25519 A:B"] {
            assert_eq!(tag_of(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_no_key_is_none() {
        for tag in ["stagecraft:shop:staging", "stagecraft-hostkey:a b", "stagecraft-hostkey:a\nb"]
        {
            assert_eq!(of_tag(tag), None, "{tag}");
        }
    }
}
