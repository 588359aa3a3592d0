//! Going back: the first release's images, files and environment, as a new release that names it.

use crate::harness::edit;
use crate::shop::{HOME, SECRETS, Shop};

/// All that a release puts on a host: the Compose file, the env file, and what each container runs
/// and reads.
fn state(shop: &Shop) -> Vec<String> {
    let mut state = Vec::new();
    for host in ["h1", "h2"] {
        state.push(shop.cat(host, &format!("{HOME}/compose.yml")));
        state.push(shop.cat(host, "/etc/shop/env"));
        for service in ["api", "worker", "postgres", "gateway"] {
            state.extend(shop.inspect(host, service, "{{.Image}}"));
            for list in shop.inspect(host, service, "{{json .Config.Env}}") {
                // Docker is given them in no particular order.
                let mut list: Vec<String> = serde_json::from_str(&list).unwrap();
                list.sort();
                state.extend(list);
            }
        }
    }
    state
}

#[test]
fn a_rollback_restores_images_files_and_environment() {
    let Some(shop) = Shop::applied() else { return };
    let first = state(&shop);
    let compose = shop.file("docker-compose.yml");
    edit(&compose, "UPSTREAMS: api:8080", "UPSTREAMS: api:8080\n      BANNER: \"two: $$5\"");
    shop.secrets(&SECRETS.replace("sk_first", "\"sk_'second' \\$x\"").replace("info", "debug"));
    shop.stagecraft(&["deploy", "v2", "--yes"]).exits(0);
    let second = state(&shop);
    assert_ne!(first, second);
    assert!(
        second.iter().any(|text| text.contains("STRIPE_API_KEY=sk_'second' $x")),
        "{second:#?}"
    );

    // Somebody gives the tag to another image on one host, and takes it away on the other.
    let (old, new) = (shop.lab.image("shop-api:v1"), shop.lab.image("shop-api:v3"));
    let tag = old.split('@').next().unwrap();
    shop.lab.console("h1", &format!("docker pull -q {new} && docker tag {new} {tag}")).ok();
    shop.lab.console("h2", &format!("docker rmi -f {tag}")).ok();

    let planned = shop.stagecraft(&["rollback", "--dry-run"]).exits(0);
    assert!(planned.stdout.contains("service.app-1/api"), "{}", planned.stdout);
    assert_eq!((state(&shop), shop.releases().len()), (second.clone(), 2));

    shop.stagecraft(&["rollback", "--yes"]).exits(0);
    assert_eq!(state(&shop), first);
    assert_eq!((shop.version(), &shop.front()["db"]), ("v1".into(), &"ok".into()));
    let release = shop.release();
    assert_eq!((&release["number"], &release["reverts_to"]), (&3.into(), &1.into()));
    assert_eq!(release["outcome"], "succeeded");
    assert_eq!(release["env_versions"], shop.releases()[0]["env_versions"]);
    let again = shop.stagecraft(&["rollback", "--to", "1", "--yes"]).exits(0);
    assert!(again.stdout.contains("No changes"), "{}", again.stdout);

    // The configuration still says the second.
    let plan = shop.plan(&["--version", "v2"]);
    plan.because("service.app-1/api", "shop-api:v2");
    plan.because("env.app-2", "STRIPE_API_KEY");

    shop.stagecraft(&["rollback", "--yes"]).exits(0);
    assert_eq!(state(&shop), second);
    let release = shop.release();
    assert_eq!((&release["number"], &release["reverts_to"]), (&4.into(), &2.into()));
    shop.is_settled();

    let list = shop.stagecraft(&["releases", "list"]).ok();
    assert_eq!(list.lines().count(), 5, "{list}");
    assert!(list.contains("back to release 1") && list.contains("back to release 2"), "{list}");
    let show = shop.stagecraft(&["releases", "show", "3"]).ok();
    assert!(show.contains("reverts to") && show.contains("release 1"), "{show}");
    let digest = old.split_once('@').unwrap().1;
    assert!(
        shop.stagecraft(&["releases", "show", "3", "--verbose"]).ok().contains(digest),
        "{show}"
    );
}

#[test]
fn a_rollback_needs_something_to_go_back_to() {
    let Some(shop) = Shop::applied() else { return };
    let refused = shop.stagecraft(&["rollback", "--yes"]).exits(1);
    assert!(refused.stderr.contains("no earlier release"), "{}", refused.stderr);
    let refused = shop.stagecraft(&["rollback", "--to", "7", "--yes"]).exits(1);
    assert!(refused.stderr.contains("there is no release 7"), "{}", refused.stderr);
    shop.stagecraft(&["deploy", "bad", "--yes"]).exits(1);
    let refused = shop.stagecraft(&["rollback", "--to", "2", "--yes"]).exits(1);
    assert!(refused.stderr.contains("release 2 failed"), "{}", refused.stderr);
    // A failed release has gone back by itself: there is nothing left to go back from.
    let back = shop.stagecraft(&["rollback", "--yes"]).exits(0).stdout;
    assert!(back.contains("as release 1 left it"), "{back}");
    assert_eq!((shop.version(), shop.releases().len()), ("v1".into(), 2));
    shop.is_settled();
}

#[test]
fn a_rollback_without_the_kept_values_says_so() {
    let Some(shop) = Shop::applied() else { return };
    let version = shop.release()["env_versions"]["app-2"].as_str().unwrap().to_owned();
    shop.secrets(&SECRETS.replace("sk_first", "sk_second"));
    shop.apply();
    shop.lab.console("h2", &format!("rm {HOME}/env/{version}")).ok();
    let refused = shop.stagecraft(&["rollback", "--yes"]).exits(1);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("--accept-current-secrets"), "{said}");
    assert_eq!(shop.releases().len(), 2);
    shop.stagecraft(&["rollback", "--accept-current-secrets", "--yes"]).exits(0);
    assert!(shop.cat("h1", "/etc/shop/env").contains("sk_first"));
    assert!(shop.cat("h2", "/etc/shop/env").contains("sk_second"));
}
