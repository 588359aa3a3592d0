//! Rollout policies: batches, canaries, release commands, other drivers, and where failures lead.

use super::*;

/// The shop with another version of the api, and settings for it.
fn next(settle: impl Fn(&mut Wish)) -> Vec<Wish> {
    let mut wishes = shop();
    wishes[1].image = "api:2".into();
    settle(&mut wishes[1]);
    wishes
}

/// The steps of one service on a host, each in a few words.
fn steps(plan: &Plan, host: &str, service: &str) -> String {
    let address = Address::service(host, service);
    let count = |list: &[ContainerRef]| list.len();
    let words = |effect: &Effect| match &effect.act {
        Act::Start { replicas, beside, compose, .. } => {
            let again = if compose.is_some() { " as before" } else { "" };
            format!("start {replicas} beside {}{again}", count(beside))
        }
        Act::AwaitHealthy { replicas, beside, .. } => {
            format!("healthy {replicas} beside {}", count(beside))
        }
        Act::RemoveBeside { keep, spare, .. } => {
            format!("remove all but {} and {spare}", count(keep))
        }
        Act::Stop { containers, .. } => format!("stop {}", count(containers)),
        Act::Remove { containers } => format!("remove {}", count(containers)),
        Act::Confirm { canary, .. } => format!("confirm {canary}"),
        act => act.name().to_owned(),
    };
    let of = plan.steps.iter().filter(|step| step.address == address);
    of.map(|step| {
        let undo: Vec<String> = step.undo.iter().map(words).collect();
        let undo = if undo.is_empty() { String::new() } else { format!(" | {}", undo.join(", ")) };
        format!("{}{undo}", words(&step.effect))
    })
    .collect::<Vec<_>>()
    .join("\n")
}

#[test]
fn a_batch_replaces_as_many_as_it_starts_and_undoes_only_itself() {
    let mut lab = Lab::with(&shop());
    let wishes = next(|api| api.rollout.batch = Some(1));
    let plan = lab.plan(&desired(&wishes));
    insta::assert_snapshot!(steps(&plan, "a", "api"), @"
    pull
    start 1 beside 2 | remove all but 2 and 0
    healthy 1 beside 2 | remove all but 2 and 0
    stop 1
    start 2 beside 2 | remove all but 2 and 1
    healthy 2 beside 2 | remove all but 2 and 1
    stop 1
    ");
    lab.run(&plan);
    assert_eq!(lines(&lab.plan(&desired(&wishes))), "");
}

#[test]
fn a_batch_that_goes_first_is_brought_back_from_the_earlier_file() {
    let mut lab = Lab::with(&shop());
    let wishes = next(|api| {
        api.rollout.batch = Some(1);
        api.rollout.order = RolloutOrder::StopFirst;
    });
    let plan = lab.plan(&desired(&wishes));
    insta::assert_snapshot!(steps(&plan, "b", "api"), @"
    pull
    stop 1
    start 1 beside 2 | remove all but 2 and 0, start 1 beside 1 as before, healthy 1 beside 1
    healthy 1 beside 2 | remove all but 2 and 0, start 1 beside 1 as before, healthy 1 beside 1
    stop 1
    start 2 beside 2 | remove all but 2 and 1, start 2 beside 1 as before, healthy 2 beside 1
    healthy 2 beside 2 | remove all but 2 and 1, start 2 beside 1 as before, healthy 2 beside 1
    ");
    lab.run(&plan);
    assert_eq!(lines(&lab.plan(&desired(&wishes))), "");
}

#[test]
fn batches_end_well_whatever_the_numbers_are() {
    for (was, will, batch, canary) in
        (0..256u32).map(|n| (1 + n % 4, n / 4 % 4, 1 + n / 16 % 4, n / 64 % 4))
    {
        for order in [RolloutOrder::StartFirst, RolloutOrder::StopFirst] {
            let mut before = shop();
            before[1].replicas = was;
            let mut lab = Lab::with(&before);
            let wishes = next(|api| {
                api.replicas = will;
                api.rollout.batch = Some(batch);
                api.rollout.canary = (canary > 0).then_some(canary);
                api.rollout.order = order;
            });
            let plan = lab.plan(&desired(&wishes));
            let least = was.min(will);
            for step in &plan.steps {
                if matches!(step.effect.act, Act::Confirm { .. }) {
                    continue;
                }
                let effect = &step.effect;
                lab.world.perform(&site(), effect, Some(&lab.secrets), &read_compose()).unwrap();
                let up = |c: &&Container| c.service == "api" && c.state == ContainerState::Running;
                let up = lab.containers(&step.effect.host.clone()).values().filter(up).count();
                let floor = if order == RolloutOrder::StartFirst { least } else { 0 };
                assert!(up >= floor as usize, "{up} after {step:?}");
            }
            assert_eq!(lines(&lab.plan(&desired(&wishes))), "", "{was} {will} {batch} {canary}");
        }
    }
}

#[test]
fn a_canary_comes_first_and_every_other_host_waits_for_it() {
    let mut lab = Lab::with(&shop());
    let wishes = next(|api| {
        api.rollout.canary = Some(1);
        api.rollout.max_parallel = 5;
    });
    let plan = lab.plan(&desired(&wishes));
    insta::assert_snapshot!(steps(&plan, "a", "api"), @"
    pull
    start 1 beside 2 | remove all but 2 and 0
    healthy 1 beside 2 | remove all but 2 and 0
    stop 1
    confirm 1
    start 2 beside 2 | remove all but 2 and 1
    healthy 2 beside 2 | remove all but 2 and 1
    stop 1
    ");
    let last = plan.steps.iter().rposition(|step| step.effect.host == "a").unwrap();
    let start = |step: &&Step| matches!(step.effect.act, Act::Start { .. });
    let other = plan.steps.iter().find(|step| start(step) && step.effect.host == "b").unwrap();
    assert!(other.after.contains(&plan.steps[last].id), "{other:?}");

    // Nobody confirmed: what is there is looked at, and the next plan goes on.
    let confirm = |step: &Step| matches!(step.effect.act, Act::Confirm { .. });
    for step in plan.steps.iter().take_while(|step| !confirm(step)) {
        lab.world.perform(&site(), &step.effect, Some(&lab.secrets), &read_compose()).unwrap();
    }
    let rest = lab.plan(&desired(&wishes));
    assert!(!rest.steps.iter().any(confirm), "{}", lines(&rest));
    lab.run(&rest);
    assert_eq!(lines(&lab.plan(&desired(&wishes))), "");
}

#[test]
fn a_command_runs_before_its_service_rolls_anywhere_and_once() {
    let mut lab = Lab::with(&shop());
    let wishes = next(|api| api.release_command = vec!["migrate".into()]);
    let plan = lab.plan(&desired(&wishes));
    insta::assert_snapshot!(lines(&plan), @r#"
    Update file.a/compose.yml [Changed] []
    Update file.b/compose.yml [Changed] []
    Create command.a/api [Requested] []
    Update service.a/api [Changed] ["image"]
    Update service.b/api [Changed] ["image"]
    Create release.test [Requested] []
    1 file.a/compose.yml write after []
    2 file.b/compose.yml write after []
    3 service.a/api pull after []
    4 service.b/api pull after []
    5 command.a/api run after [1, 3, 4]
    6 service.a/api start after [1, 3, 4, 5] undo ["remove"]
    7 service.a/api healthy after [6] undo ["remove"]
    8 service.a/api stop after [7]
    9 service.b/api start after [1, 2, 3, 4, 5, 8] undo ["remove"]
    10 service.b/api healthy after [9] undo ["remove"]
    11 service.b/api stop after [10]
    "#);
    assert_eq!(plan.summary, Summary { add: 0, change: 4, destroy: 0 });
    let runs = |plan: &Plan| {
        plan.steps.iter().filter(|step| matches!(step.effect.act, Act::Run { .. })).count()
    };
    // An apply that was killed after the first host: the command has run for this version.
    for step in &plan.steps[..10] {
        lab.world.perform(&site(), &step.effect, Some(&lab.secrets), &read_compose()).unwrap();
    }
    let rest = lab.plan(&desired(&wishes));
    assert!(!rest.steps.is_empty() && runs(&rest) == 0, "{}", lines(&rest));
    lab.run(&rest);
    // Putting right what a person did is no release, and neither is a larger number.
    lab.container("a", "shop-test-api-3").memory = 1024;
    assert_eq!(runs(&lab.plan(&desired(&wishes))), 0);
    lab.apply(&desired(&wishes));
    let mut more = wishes.clone();
    more[1].replicas = 3;
    assert_eq!(runs(&lab.plan(&desired(&more))), 0);
    // Other secrets are a release.
    lab.secrets = secrets("2");
    assert_eq!(runs(&lab.plan(&desired(&wishes))), 1);
}

#[test]
fn going_back_runs_no_command_and_names_what_stays_done() {
    let lab = Lab::with(&next(|_| {}));
    let mut earlier = shop();
    earlier[1].release_command = vec!["migrate".into()];
    let mut observed = lab.observe(&["a", "b"]);
    observed.commands_since = [("api".to_owned(), "migrate up".to_owned())].into();
    let request = Request { rollback_to: Some(1), ..Request::default() };
    let plan = plan(&desired(&earlier), &observed, &request).unwrap();
    assert!(!plan.steps.iter().any(|step| matches!(step.effect.act, Act::Run { .. })));
    let (service, command) = ("api".into(), "migrate up".into());
    assert_eq!(plan.notes, [Note::CommandStays { service, command }]);
    assert_eq!(plan.falls_back_to, None);
}

#[test]
fn docker_rollout_is_handed_what_it_can_do() {
    let mut lab = Lab::with(&shop());
    let wishes = next(|api| api.rollout.plugin = Some("/p".into()));
    let plan = lab.plan(&desired(&wishes));
    insta::assert_snapshot!(steps(&plan, "a", "api"), @"
    pull
    roll | remove all but 2 and 0
    healthy 2 beside 0
    ");
    lab.run(&plan);
    assert_eq!(lines(&lab.plan(&desired(&wishes))), "");
    // It can only replace as many as there are.
    let more = next(|api| {
        api.image = "api:3".into();
        api.replicas = 3;
        api.rollout.plugin = Some("/p".into());
    });
    let plan = lab.plan(&desired(&more));
    assert!(steps(&plan, "a", "api").contains("start 3 beside 2"), "{}", lines(&plan));
}

#[test]
fn a_failure_leads_back_to_the_newest_release_that_succeeded() {
    let mut lab = Lab::with(&shop());
    let head = |number, outcome, previous_good| ReleaseHead {
        number,
        version: None,
        previous_version: None,
        outcome,
        desired: String::new(),
        hosts: Vec::new(),
        previous_good,
        fell_back: None,
    };
    let back =
        |lab: &Lab, settle: &dyn Fn(&mut Wish)| lab.plan(&desired(&next(settle))).falls_back_to;
    assert_eq!(back(&lab, &|_| {}), None);
    lab.head = Some(head(4, Outcome::Succeeded, Some(2)));
    assert_eq!(back(&lab, &|_| {}), Some(4));
    lab.head = Some(head(5, Outcome::Failed, Some(4)));
    assert_eq!(back(&lab, &|_| {}), Some(4));
    assert_eq!(back(&lab, &|api| api.rollout.on_failure = OnFailure::Pause), None);
}
