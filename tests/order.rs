//! The same inputs give the same bytes: plans in the simulated world, whatever the order of keys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/shuffle.rs"]
mod shuffle;

use std::path::Path;
use std::process::Command;

const FILES: [&str; 3] = ["stagecraft.yml", "docker-compose.yml", "example.env"];

fn stagecraft(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_stagecraft"))
        .current_dir(folder)
        .args(arguments)
        .args(["--env", "sandbox", "--format", "json"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn plans_are_the_same_bytes_whatever_the_order_of_keys() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for name in FILES {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/shop").join(name);
        let text = std::fs::read_to_string(file).unwrap();
        let other = shuffle::reversed(&text);
        assert_ne!(text, other);
        std::fs::write(folders[0].path().join(name), text).unwrap();
        std::fs::write(folders[1].path().join(name), other).unwrap();
    }
    let plans = |arguments: &[&str]| folders.each_ref().map(|f| stagecraft(f.path(), arguments));
    let [first, other] = plans(&["plan"]);
    assert!(first.contains("service.app-2/api"));
    assert_eq!(first, other);
    // Both look at the same world: what an apply calls its containers is chance.
    stagecraft(folders[0].path(), &["apply", "--yes"]);
    let state = folders.each_ref().map(|folder| folder.path().join(".stagecraft"));
    let copied = Command::new("cp").arg("-r").args(&state).status().unwrap();
    assert!(copied.success());
    let [first, other] = plans(&["plan", "--version", "v2"]);
    assert!(first.contains("shop-api:v2"));
    assert_eq!(first, other);
    assert_eq!(first, stagecraft(folders[0].path(), &["plan", "--version", "v2"]));
}
