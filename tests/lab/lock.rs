//! One apply at a time.

use crate::harness::Ran;
use crate::shop::Shop;

#[test]
fn of_two_applies_at_once_exactly_one_proceeds() {
    let Some(shop) = Shop::new() else { return };
    let both = [shop.follow(&["apply"]), shop.follow(&["apply"])];
    let pids = both.each_ref().map(|apply| apply.child.id());
    let ends = std::thread::scope(|scope| {
        both.map(|apply| scope.spawn(|| apply.end())).map(|thread| thread.join().unwrap())
    });
    let codes = ends.each_ref().map(|ran: &Ran| ran.code);
    let loser = codes.iter().position(|code| *code == 1).expect("one that is turned away");
    assert_eq!(codes[1 - loser], 0, "{ends:?}");
    let said = &ends[loser].stderr;
    let who = format!("@{}", std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    assert!(said.contains("locked") && said.contains(&who), "{said}");
    assert!(said.contains(&format!("process {}", pids[1 - loser])), "{said} {pids:?}");
    assert_eq!(shop.releases().len(), 1);
    shop.is_unlocked();
    shop.is_settled();
}

#[test]
fn a_late_apply_is_turned_away_and_a_plan_is_not() {
    let Some(shop) = Shop::applied() else { return };
    let mut first = shop.follow(&["deploy", "v2"]);
    first.wait_for("started", "", "");
    let status = shop.stagecraft(&["lock", "status"]).ok();
    let pid = format!("process {}", first.child.id());
    assert!(status.contains(&pid) && status.contains("apply"), "{status}");
    for verb in
        [&["apply", "--yes"][..], &["deploy", "v3", "--yes"], &["rollback", "--to", "1", "--yes"]]
    {
        let refused = shop.stagecraft(verb).exits(1);
        assert!(refused.stderr.contains(&pid), "{}", refused.stderr);
    }
    shop.stagecraft(&["plan", "--version", "v3", "--detailed-exitcode"]).exits(2);
    first.end().exits(0);
    assert_eq!((shop.version(), shop.releases().len()), ("v2".into(), 2));
    shop.is_unlocked();
    shop.is_settled();
}
