//! What happens to a resource, and what must have become of it.

use std::{sync::Arc, time::Duration};

use quartet_client::admin::AdminClient;
use quartet_operator::{
    failure::Class,
    kube::{Context, events::Events},
    reconcile::{Done, Settings, look, reconcile},
};
use serde_json::{Value, json};

use super::{
    api::{Api, Deed, Fault},
    toy::ToyKind,
};

const TOY: &str = "/apis/quartet.dev/v1alpha1/namespaces/default/toys/demo";
const CHILD: &str = "/api/v1/namespaces/default/configmaps/demo";
const SECRET: &str = "/api/v1/namespaces/default/secrets/demo-admin";
const REVISIONS: &str = "/controllerrevisions/";
/// More reconciliations than any of these tests needs.
const PATIENCE: usize = 10;

fn cluster(size: u32) -> Api {
    let api = Api::default();
    api.put(
        TOY,
        json!({"apiVersion": "quartet.dev/v1alpha1", "kind": "Toy", "metadata": {"name": "demo"},
            "spec": {"size": size, "paused": false}}),
    );
    api
}

fn context(api: &Api) -> Context {
    let client = api.client();
    Context {
        events: Arc::new(Events::new(client.clone(), "test")),
        client,
        settings: Settings {
            node_image: "node".into(),
            mariadb_image: "mariadb".into(),
            haproxy_image: "haproxy".into(),
            image_pull_policy: "Never".into(),
            namespace: "quartet-system".into(),
        },
        metrics: Arc::default(),
        members: AdminClient::new(Duration::from_secs(1)).unwrap(),
    }
}

/// A new process each time: nothing is remembered between reconciliations.
async fn once(api: &Api) -> Done {
    match reconcile::<ToyKind>(&context(api), "default", "demo").await {
        Ok(done) => done,
        Err(failure) => Done { failure: Some(failure), ..Done::default() },
    }
}

/// Until a reconciliation writes nothing.
async fn settle(api: &Api) {
    for _ in 0..PATIENCE {
        api.take_writes();
        let done = once(api).await;
        if done.failure.is_none() && api.take_writes().iter().all(|write| write.contains("/events")) {
            return;
        }
    }
    panic!("still writing after {PATIENCE} reconciliations");
}

fn set_spec(api: &Api, spec: &Value) {
    api.edit(TOY, |toy| {
        toy["spec"] = spec.clone();
        toy["metadata"]["generation"] = json!(toy["metadata"]["generation"].as_i64().unwrap() + 1);
    });
}

fn status(api: &Api) -> Value {
    api.get(TOY).unwrap()["status"].clone()
}

fn child_size(api: &Api) -> Option<String> {
    Some(api.get(CHILD)?["data"]["size"].as_str()?.to_owned())
}

/// What must hold after any history that ends with this size.
fn assert_settled(api: &Api, size: u32, context: &str) {
    assert_eq!(status(api), json!({"size": size, "reason": "Settled"}), "{context}");
    assert_eq!(child_size(api), Some(size.to_string()), "{context}");
    assert_eq!(api.paths(REVISIONS).len(), 1, "{context}");
    assert!(api.unrecorded().is_empty(), "{context}: {:?}", api.unrecorded());
}

#[tokio::test]
async fn a_resource_converges_and_then_nothing_is_written() {
    let api = cluster(3);
    settle(&api).await;
    assert_settled(&api, 3, "first");
    assert_eq!(api.operations().len(), 1);
    for _ in 0..5 {
        once(&api).await;
    }
    assert_eq!(api.take_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn death_or_refusal_at_any_request_loses_nothing_and_does_nothing_twice() {
    let faults = [Fault::Before, Fault::After, Fault::Status(409), Fault::Status(500), Fault::Status(503)];
    for fault in faults {
        let mut request = 1;
        loop {
            let api = cluster(3);
            settle(&api).await;
            set_spec(&api, &json!({"size": 5, "paused": false}));
            api.fail(request, fault);
            settle(&api).await;
            let happened = format!("{fault:?} at request {request}");
            assert_settled(&api, 5, &happened);
            assert_eq!(api.operations().len(), 2, "{happened}: {:?}", api.operations());
            if !api.failed() {
                break;
            }
            request += 1;
        }
        assert!(request > 15, "only {request} requests were tried");
    }
}

#[tokio::test]
async fn two_overlapping_operators_act_once_however_far_one_is_ahead() {
    for lead in 0..40 {
        let api = cluster(3);
        let (one, other) = (context(&api), context(&api));
        let late = async {
            for _ in 0..lead {
                tokio::task::yield_now().await;
            }
            reconcile::<ToyKind>(&other, "default", "demo").await
        };
        let _ = tokio::join!(reconcile::<ToyKind>(&one, "default", "demo"), late);
        settle(&api).await;
        assert_settled(&api, 3, &format!("{lead} steps ahead"));
        assert_eq!(api.operations().len(), 1, "{lead} steps ahead: {:?}", api.operations());
    }
}

#[tokio::test]
async fn a_bad_spec_does_not_stop_healing() {
    let api = cluster(3);
    settle(&api).await;
    set_spec(&api, &json!({"size": 99, "paused": false}));
    api.remove(CHILD);
    settle(&api).await;
    assert_eq!(child_size(&api), Some("3".into()));
    assert_eq!(status(&api)["reason"], "TooLarge");
    assert!(once(&api).await.refused);

    set_spec(&api, &json!({"size": 4, "paused": false}));
    settle(&api).await;
    assert_settled(&api, 4, "cured");
}

#[tokio::test]
async fn a_spec_that_cannot_even_be_read_does_not_stop_healing() {
    let api = cluster(3);
    settle(&api).await;
    set_spec(&api, &json!({"size": "large"}));
    api.edit(CHILD, |child| child["data"]["size"] = json!("7"));
    settle(&api).await;
    assert_eq!(child_size(&api), Some("3".into()));
    assert_eq!(status(&api)["reason"], "SpecInvalid spec");
}

/// Validation lets it through, but the API server refuses a child made of it.
#[tokio::test]
async fn a_spec_whose_children_are_refused_never_comes_into_force_and_does_not_stop_healing() {
    let api = cluster(3);
    settle(&api).await;
    api.refuse(r#""size":"5""#, "data.size");
    set_spec(&api, &json!({"size": 5, "paused": false}));
    api.remove(CHILD);
    settle(&api).await;
    assert_eq!(status(&api)["reason"], "SpecInvalid spec.size");
    assert_eq!(child_size(&api), Some("3".into()));
    assert_eq!(api.operations().len(), 1, "no member was told of it");
    assert_eq!(
        api.paths(REVISIONS),
        ["/apis/apps/v1/namespaces/default/controllerrevisions/demo-accepted-1"]
    );

    set_spec(&api, &json!({"size": 4, "paused": false}));
    settle(&api).await;
    assert_settled(&api, 4, "cured");
}

#[tokio::test]
async fn a_first_spec_whose_children_are_refused_makes_nothing() {
    let api = cluster(5);
    api.refuse(r#""size":"5""#, "data.size");
    settle(&api).await;
    assert_eq!(status(&api)["reason"], "SpecInvalid spec.size");
    assert!(api.paths(REVISIONS).is_empty() && api.operations().is_empty());
}

/// An accepted spec whose child is refused later, by a newer API server or a foreign policy.
#[tokio::test]
async fn a_child_that_is_refused_keeps_no_member_from_being_told() {
    let api = cluster(3);
    settle(&api).await;
    api.refuse(r#""kind":"ConfigMap""#, "data");
    api.remove(CHILD);
    api.remove("/api/v1/namespaces/default/configmaps/member");
    let mut last = Done::default();
    for _ in 0..PATIENCE {
        last = once(&api).await;
    }
    assert_eq!(api.operations().len(), 2);
    assert_eq!(status(&api)["size"], 3);
    assert_eq!(last.failure.map(|failure| failure.class), Some(Class::Invalid));
    assert!(last.recheck_after.is_some(), "it does not wait for ever longer");
}

/// Read as free, and taken by the time of the write.
#[tokio::test]
async fn a_name_taken_between_look_and_write_is_not_touched() {
    let mut raced = 0;
    for request in 1..20 {
        let api = cluster(3);
        let mine = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo"}, "data": {"mine": "yes"}});
        api.meanwhile(request, CHILD, Deed::Makes(mine));
        once(&api).await;
        if api.get(CHILD).is_some_and(|child| child["data"]["mine"] == "yes") {
            raced += 1;
            let child = api.get(CHILD).unwrap();
            assert!(
                child["metadata"]["ownerReferences"].is_null() && child["data"]["size"].is_null(),
                "{child}"
            );
            settle(&api).await;
            assert_eq!(status(&api)["reason"], "NameTaken demo");
        }
    }
    assert!(raced > 5, "{raced}");
}

/// As many requests as a look takes that puts something back.
const REQUESTS: usize = 10;

fn token(api: &Api) -> Value {
    api.get(SECRET).map_or(Value::Null, |secret| secret["data"]["token"].clone())
}

/// A settled resource whose Secret has lost its labels, so that it is written, and not its token. The request of that
/// number is refused, for the fields to be put back in more than one way; 0: none.
async fn damaged(refused: usize) -> Api {
    let api = cluster(3);
    settle(&api).await;
    assert!(token(&api).is_string(), "{}", token(&api));
    api.edit(SECRET, |secret| secret["metadata"]["labels"] = json!({}));
    if refused > 0 {
        api.fail(refused, Fault::Status(422));
    }
    api
}

fn assert_whole(api: &Api, context: &str) {
    let metadata = &api.get(SECRET).unwrap()["metadata"];
    assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "quartet", "{context}");
    assert_eq!(metadata["ownerReferences"][0]["name"], "demo", "{context}");
}

#[tokio::test]
async fn a_damaged_secret_keeps_its_token() {
    for refused in 0..REQUESTS {
        let api = damaged(refused).await;
        let kept = token(&api);
        settle(&api).await;
        assert_whole(&api, &format!("{refused} refused"));
        assert_eq!(token(&api), kept, "{refused} refused");
    }
}

/// Whoever deletes it wants another one.
#[tokio::test]
async fn a_token_that_was_lost_at_any_request_never_comes_back() {
    for refused in 0..REQUESTS {
        for request in 1.. {
            let api = damaged(refused).await;
            let lost = token(&api);
            api.meanwhile(request, SECRET, Deed::Deletes);
            settle(&api).await;
            if !api.befell() {
                assert!(request > REQUESTS, "only {request} requests were tried");
                break;
            }
            settle(&api).await;
            let happened = format!("deleted before request {request}, {refused} refused");
            assert_whole(&api, &happened);
            let now = token(&api);
            assert!(now.is_string() && now != lost, "{happened}: {now}");
        }
    }
}

#[tokio::test]
async fn a_token_that_somebody_made_meanwhile_is_not_overwritten() {
    for refused in 0..REQUESTS {
        for request in 1.. {
            let api = damaged(refused).await;
            let mut theirs = api.get(SECRET).unwrap();
            theirs["metadata"].as_object_mut().unwrap().remove("uid");
            theirs["data"]["token"] = json!("dGhlaXJz");
            api.meanwhile(request, SECRET, Deed::Replaces(theirs));
            let class = once(&api).await.failure.map(|failure| failure.class);
            let happened = format!("replaced before request {request}, {refused} refused");
            assert!(refused > 0 || matches!(class, None | Some(Class::Conflict)), "{happened}: {class:?}");
            settle(&api).await;
            if !api.befell() {
                assert!(request > REQUESTS, "only {request} requests were tried");
                break;
            }
            settle(&api).await;
            assert_whole(&api, &happened);
            assert_eq!(token(&api), "dGhlaXJz", "{happened}");
        }
    }
}

#[tokio::test]
async fn a_bad_spec_from_the_start_makes_nothing() {
    let api = cluster(99);
    settle(&api).await;
    assert_eq!(status(&api)["reason"], "TooLarge");
    assert_eq!(child_size(&api), None);
    assert!(api.paths(REVISIONS).is_empty());
}

#[tokio::test]
async fn an_object_of_the_users_with_a_childs_name_is_never_touched() {
    let api = cluster(3);
    let mine = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo"}, "data": {"mine": "yes"}});
    api.put(CHILD, mine);
    let before = api.get(CHILD);
    settle(&api).await;
    assert_eq!(api.get(CHILD), before);
    assert_eq!(status(&api)["reason"], "NameTaken demo");
    // The rest went on.
    assert_eq!(status(&api)["size"], 3);

    api.remove(CHILD);
    settle(&api).await;
    assert_settled(&api, 3, "given free");
}

#[tokio::test]
async fn a_revision_of_somebody_elses_is_left_alone_and_the_rest_goes_on() {
    let api = cluster(3);
    let path = "/apis/apps/v1/namespaces/default/controllerrevisions/demo-accepted-1";
    let mine = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1,
        "metadata": {"name": "demo-accepted-1"}, "data": {"mine": "yes"}});
    api.put(path, mine);
    let before = api.get(path);
    for _ in 0..PATIENCE {
        once(&api).await;
    }
    assert_eq!(api.get(path), before);
    assert_eq!(child_size(&api), Some("3".into()));
    assert_eq!(status(&api)["reason"], "NameTaken demo-accepted-1");
}

/// Deleted and made again before the garbage collector has come round.
#[tokio::test]
async fn what_an_earlier_resource_of_the_name_left_is_waited_for_and_not_called_a_strangers() {
    let api = cluster(3);
    settle(&api).await;
    let revision = "/apis/apps/v1/namespaces/default/controllerrevisions/demo-accepted-1";
    let old = [CHILD, SECRET, revision].map(|path| (path, api.get(path).unwrap()));
    api.remove(TOY);
    api.put(
        TOY,
        json!({"apiVersion": "quartet.dev/v1alpha1", "kind": "Toy", "metadata": {"name": "demo"},
            "spec": {"size": 3, "paused": false}}),
    );
    for _ in 0..PATIENCE {
        let done = once(&api).await;
        assert_eq!(done.failure.map(|failure| failure.class), Some(Class::Conflict), "looked at again soon");
        assert!(!status(&api)["reason"].as_str().unwrap().contains("NameTaken"), "{}", status(&api));
    }
    for (path, before) in &old {
        assert_eq!(api.get(path).as_ref(), Some(before), "left to the garbage collector");
        api.remove(path);
    }
    settle(&api).await;
    assert_settled(&api, 3, "made again");
    let owner = api.get(CHILD).unwrap()["metadata"]["ownerReferences"][0]["uid"].clone();
    assert_eq!(owner, api.get(TOY).unwrap()["metadata"]["uid"]);
}

#[tokio::test]
async fn a_kept_spec_whose_labels_and_owner_were_taken_away_is_made_anew() {
    let api = cluster(3);
    settle(&api).await;
    let path = "/apis/apps/v1/namespaces/default/controllerrevisions/demo-accepted-1";
    api.edit(path, |kept| {
        kept["metadata"]["ownerReferences"] = json!([]);
        kept["metadata"]["labels"] = json!({});
    });
    settle(&api).await;
    assert_settled(&api, 3, "labels taken away");
    assert_eq!(api.get(path).unwrap()["metadata"]["ownerReferences"][0]["name"], "demo");
}

#[tokio::test]
async fn a_foreign_edit_is_put_back_with_a_single_write() {
    let api = cluster(3);
    settle(&api).await;
    api.edit(CHILD, |child| child["data"]["size"] = json!("8"));
    once(&api).await;
    assert_eq!(api.take_writes(), [format!("PATCH {CHILD}")]);
    assert_settled(&api, 3, "edited");

    // What is not ours in it stays.
    api.edit(CHILD, |child| child["data"]["theirs"] = json!("kept"));
    settle(&api).await;
    assert_eq!(api.get(CHILD).unwrap()["data"]["theirs"], "kept");

    // Nor does a stripped owner reference make it a stranger's.
    api.edit(CHILD, |child| child["metadata"]["ownerReferences"] = json!([]));
    settle(&api).await;
    assert_eq!(api.get(CHILD).unwrap()["metadata"]["ownerReferences"][0]["name"], "demo");
}

#[tokio::test]
async fn a_paused_resource_is_only_reported_on() {
    let api = cluster(3);
    settle(&api).await;
    set_spec(&api, &json!({"size": 5, "paused": true}));
    api.remove(CHILD);
    settle(&api).await;
    assert_eq!(child_size(&api), None);
    assert_eq!(status(&api), json!({"size": 3, "reason": "Paused"}));
}

#[tokio::test]
async fn a_resource_that_is_being_deleted_is_left_to_the_garbage_collector() {
    let api = cluster(3);
    settle(&api).await;
    api.edit(TOY, |toy| toy["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    api.remove(CHILD);
    once(&api).await;
    assert_eq!(api.take_writes(), Vec::<String>::new());
    assert_eq!(child_size(&api), None);
}

#[tokio::test]
async fn a_plan_can_be_printed_without_acting() {
    let api = cluster(3);
    let situation = look::<ToyKind>(&context(&api), "default", "demo").await.unwrap().unwrap();
    let text = situation.describe(&context(&api)).await.unwrap();
    assert!(text.contains("Resizing") && text.contains("apply ConfigMap/demo"), "{text}");
    assert!(text.contains("ConfigMap/demo: missing") && text.contains("call resize to 3"), "{text}");
    assert_eq!(api.take_writes(), Vec::<String>::new());

    settle(&api).await;
    let shown = async || {
        let situation = look::<ToyKind>(&context(&api), "default", "demo").await.unwrap().unwrap();
        situation.describe(&context(&api)).await.unwrap()
    };
    assert!(!shown().await.contains("ConfigMap"), "what is as it shall be is left out");
    api.edit(CHILD, |child| child["data"]["size"] = json!("8"));
    assert!(shown().await.contains("ConfigMap/demo: differs in data.size"));
}

#[tokio::test]
async fn failures_keep_the_class_that_the_api_server_gave_them() {
    for (code, class) in [(409, Class::Conflict), (403, Class::Blocked), (500, Class::Transient)] {
        let api = cluster(3);
        api.fail(1, Fault::Status(code));
        assert_eq!(once(&api).await.failure.map(|failure| failure.class), Some(class));
    }
}
