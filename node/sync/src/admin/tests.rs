//! The operator's port, over one member in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use quartet_replica::engine::MemberCommand;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::{Settings, router};
use crate::service::{self, Service};
use crate::single::{ID, Single};

struct Bench {
    member: Single,
    service: Arc<Service<Single>>,
    router: Router,
    token: tempfile::NamedTempFile,
}

impl Bench {
    fn new() -> Self {
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "secret\n").unwrap();
        let gauges = vec![Arc::default()];
        let member = Single::new(&gauges);
        let (cluster, version) = ("demo".to_owned(), "1.2.3".to_owned());
        let settings = service::Settings {
            cluster: cluster.clone(),
            ordinal: ID.ordinal,
            version: version.clone(),
            lock_default_ttl_ms: 30_000,
        };
        let service = Service::new(settings, member.clone(), gauges);
        let settings =
            Settings { cluster, version, token_file: token.path().to_owned(), quiet: Duration::ZERO };
        Self { router: router(settings, Arc::clone(&service)), member, service, token }
    }

    async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn tell(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask("POST", path, Some("secret"), body).await
    }
}

fn uuid(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

fn address(incarnation: u128) -> Value {
    json!({"peer": {"ordinal": 0, "incarnation": uuid(incarnation)}, "address": "a:1"})
}

#[tokio::test]
async fn nothing_is_answered_without_the_token_of_the_moment() {
    let bench = Bench::new();
    let ask = |token: Option<&'static str>| bench.ask("GET", "/v1/member", token, Value::Null);
    assert_eq!(ask(None).await.0, 401);
    assert_eq!(ask(Some("secre")).await.0, 403);
    assert_eq!(ask(Some("")).await.0, 403);
    assert_eq!(ask(Some("secret")).await.0, 200);
    std::fs::write(bench.token.path(), "other").unwrap();
    assert_eq!(ask(Some("secret")).await.0, 403);
    assert_eq!(ask(Some("other")).await.0, 200);
    std::fs::write(bench.token.path(), "\n").unwrap();
    assert_eq!(ask(Some("")).await.0, 403, "an empty token opens nothing");
    assert_eq!(bench.ask("GET", "/nothing", None, Value::Null).await.0, 401);
}

#[tokio::test]
async fn the_report_tells_who_it_is_and_how_its_groups_stand() {
    let bench = Bench::new();
    let (status, body) = bench.ask("GET", "/v1/member", Some("secret"), Value::Null).await;
    let report: quartet_client::admin::MemberReport = serde_json::from_value(body).unwrap();
    assert_eq!((status, report.ordinal, report.incarnation), (200, 0, Uuid::from_u128(ID.incarnation)));
    assert_eq!((report.disk_free_bytes, report.disk_total_bytes), (1000, 4000));
    assert_eq!(report.groups[0].configuration.voters.len(), 1);
    assert_eq!(report.state, quartet_client::admin::MemberState::Serving);
}

#[tokio::test]
async fn founding_is_idempotent_and_needs_this_very_member_among_the_founders() {
    let bench = Bench::new();
    let found = |cluster, incarnation| json!({"operation": uuid(1), "cluster": uuid(cluster), "members": [address(incarnation)]});
    assert_eq!(bench.tell("/v1/found", found(9, ID.incarnation)).await, (200, json!({})));
    assert_eq!(bench.member.commands().len(), 0, "it belongs to that cluster already");
    let (status, body) = bench.tell("/v1/found", found(5, 8)).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("refused")));
    let (status, body) = bench.tell("/v1/found", found(5, ID.incarnation)).await;
    assert_eq!((status, &body["error"]["message"]), (409, &json!("it already belongs to a cluster")));
}

#[tokio::test]
async fn a_change_is_passed_on_with_what_it_expects_and_answered_per_group() {
    let bench = Bench::new();
    let change = json!({"operation": uuid(1), "cluster": uuid(9), "groups": [
        {"group": 0, "expectedIndex": 12, "voters": [address(7)], "learners": []}]});
    let outcome = json!({"groups": {"0": {"accepted": false, "refusal": "a change is under way"}}});
    assert_eq!(bench.tell("/v1/membership", change).await, (200, outcome));
    let commands = bench.member.commands();
    let [MemberCommand::Change { cluster: 9, groups }] = commands.as_slice() else { panic!("{commands:?}") };
    assert_eq!((groups[0].expected.0, groups[0].voters[0].0), (12, ID));
}

#[tokio::test]
async fn a_reset_reaches_the_member_and_unknown_fields_do_not() {
    let bench = Bench::new();
    let reset = |incarnation| json!({"operation": uuid(1), "incarnation": uuid(incarnation)});
    assert_eq!(bench.tell("/v1/reset", reset(8)).await.0, 409);
    assert_eq!(bench.tell("/v1/reset", reset(ID.incarnation)).await.0, 200);
    let (status, body) = bench.tell("/v1/reset", json!({"operation": uuid(1), "to": 1})).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("bad_request")));
}

#[tokio::test]
async fn a_member_told_to_drain_hands_over_to_those_who_stay_and_reports_it() {
    let bench = Bench::new();
    let told = async || {
        let (_, body) = bench.ask("GET", "/v1/member", Some("secret"), Value::Null).await;
        (body["draining"].clone(), body["quiet"].clone())
    };
    assert_eq!(told().await, (json!(false), json!(true)));
    let leaving = json!([{"ordinal": 0, "incarnation": uuid(7)}, {"ordinal": 2, "incarnation": uuid(8)}]);
    let drain = |cluster| json!({"operation": uuid(1), "cluster": uuid(cluster), "leaving": leaving});
    assert_eq!(bench.tell("/v1/drain", drain(8)).await.0, 409, "another cluster's operation");
    assert!(!bench.service.is_draining());
    assert_eq!(bench.tell("/v1/drain", drain(9)).await.0, 200);
    assert_eq!(told().await, (json!(true), json!(true)));
    let commands = bench.member.commands();
    let Some(MemberCommand::Handover { except, .. }) = commands.last() else { panic!("{commands:?}") };
    assert_eq!(except.iter().map(|id| id.ordinal).collect::<Vec<_>>(), [0, 2]);
}
