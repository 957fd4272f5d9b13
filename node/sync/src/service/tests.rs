//! The routes, over one member in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use quartet_replica::wire::Failure;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use super::{Service, Settings};
use crate::Gauges;
use crate::single::Single;

const PARTITIONS: u16 = 4;

struct Bench {
    member: Single,
    service: Arc<Service<Single>>,
    router: Router,
}

impl Bench {
    fn new() -> Self {
        let gauges: Vec<Arc<Gauges>> = (0..PARTITIONS).map(|_| Arc::default()).collect();
        let member = Single::new(&gauges);
        let settings = Settings {
            cluster: "demo".into(),
            ordinal: 0,
            version: "1.2.3".into(),
            lock_default_ttl_ms: 30_000,
        };
        let service = Service::new(settings, member.clone(), gauges);
        Self { member, router: service.router(), service }
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        read(self.send(request).await).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask("POST", path, body.to_string()).await
    }

    async fn keyed(&self, key: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::post(path).header("idempotency-key", key).body(Body::from(body.to_string()));
        read(self.send(request.unwrap()).await).await
    }

    /// Asks for a lock that another holds, and comes back once the request waits.
    async fn wait(&self, owner: &str) -> JoinHandle<(u16, Value)> {
        let before = self.member.waiting();
        let request =
            Request::post("/lock/acquire").body(Body::from(acquire_waiting("r", owner).to_string())).unwrap();
        let answer = self.router.clone().oneshot(request);
        let waiting = tokio::spawn(async move { read(answer.await.unwrap()).await });
        self.until(|bench| bench.member.waiting() == before + 1).await;
        waiting
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if condition(self) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the condition did not come about");
    }
}

async fn read(response: Response<Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8_lossy(&body).into_owned();
    (status, serde_json::from_slice(&body).unwrap_or(Value::String(text)))
}

fn acquire(resource: &str, owner: &str) -> Value {
    json!({"resource": resource, "owner": owner, "mode": "exclusive", "ttl_ms": 1000})
}

fn acquire_waiting(resource: &str, owner: &str) -> Value {
    json!({"resource": resource, "owner": owner, "mode": "exclusive", "ttl_ms": 1000, "wait_ms": 5000})
}

/// A resource of another partition than `key` or `other`.
fn elsewhere(than: &[&str]) -> String {
    let taken: Vec<_> = than.iter().map(|name| quartet_client::partition_of(name, PARTITIONS)).collect();
    let mut names = (0..1000).map(|number| format!("elsewhere-{number}"));
    names.find(|name| !taken.contains(&quartet_client::partition_of(name, PARTITIONS))).unwrap()
}

#[tokio::test]
async fn a_lock_is_acquired_renewed_shown_and_released() {
    let bench = Bench::new();
    let granted = json!({"acquired": true, "resource": "r", "owner": "a", "mode": "exclusive",
        "fencing_token": 1, "expires_in_ms": 1000});
    assert_eq!(bench.post("/lock/acquire", acquire("r", "a")).await, (200, granted.clone()));
    bench.member.pass(400);
    let status = json!({"resource": "r", "mode": "exclusive", "waiters": [],
        "holders": [{"owner": "a", "mode": "exclusive", "fencing_token": 1, "expires_in_ms": 600}]});
    assert_eq!(bench.ask("GET", "/lock?resource=r", "").await, (200, status));
    let renew = json!({"resource": "r", "owner": "a", "fencing_token": 1, "ttl_ms": 1000});
    assert_eq!(bench.post("/lock/renew", renew).await, (200, granted));
    let release = json!({"resource": "r", "owner": "a", "fencing_token": 1});
    assert_eq!(bench.post("/lock/release", release.clone()).await, (200, json!({"released": true})));
    let (status, body) = bench.post("/lock/release", release).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("not_held")));
    let free = json!({"resource": "r", "mode": null, "holders": [], "waiters": []});
    assert_eq!(bench.ask("GET", "/lock?resource=r", "").await, (200, free));
}

#[tokio::test]
async fn what_is_held_is_refused_with_its_holders() {
    let bench = Bench::new();
    bench.post("/lock/acquire", acquire("r", "a")).await;
    let (status, body) = bench.post("/lock/acquire", acquire("r", "b")).await;
    assert_eq!(status, 409);
    assert_eq!(body["error"]["code"], "held");
    assert_eq!(body["error"]["retryable"], true);
    let holder = json!({"owner": "a", "mode": "exclusive", "fencing_token": 1, "expires_in_ms": 1000});
    assert_eq!(body["holders"], json!([holder]));
}

#[tokio::test]
async fn without_a_ttl_the_clusters_default_counts() {
    let bench = Bench::new();
    let (_, body) =
        bench.post("/lock/acquire", json!({"resource": "r", "owner": "a", "mode": "shared"})).await;
    assert_eq!(body["expires_in_ms"], 30_000);
}

#[tokio::test]
async fn a_waiter_is_answered_when_the_lock_comes_free_and_a_lost_lease_is_told() {
    let bench = Bench::new();
    bench.post("/lock/acquire", acquire("r", "a")).await;
    let waiting = bench.wait("b").await;
    bench.member.pass(1000);
    let (status, body) = waiting.await.unwrap();
    assert_eq!((status, &body["fencing_token"]), (200, &json!(2)));
    let (status, body) =
        bench.post("/lock/renew", json!({"resource": "r", "owner": "a", "fencing_token": 1})).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("lost")));
}

#[tokio::test]
async fn a_waiter_whose_connection_has_gone_no_longer_waits() {
    let bench = Bench::new();
    bench.post("/lock/acquire", acquire("r", "a")).await;
    let waiting = bench.wait("b").await;
    waiting.abort();
    bench.until(|bench| bench.member.waiting() == 0).await;
    let (_, body) = bench.ask("GET", "/lock?resource=r", "").await;
    assert_eq!(body["waiters"], json!([]));
}

#[tokio::test]
async fn a_member_that_stops_is_not_ready_and_ends_waits_as_retryable() {
    let bench = Bench::new();
    assert_eq!(bench.ask("GET", "/readyz", "").await.0, 200);
    bench.post("/lock/acquire", acquire("r", "a")).await;
    let waiting = bench.wait("b").await;
    assert!(!bench.service.is_quiet(Duration::ZERO), "a request is under way");
    bench.service.drain();
    let (status, body) = waiting.await.unwrap();
    assert_eq!((status, &body["error"]["code"]), (503, &json!("wait_ended")));
    assert_eq!(body["error"]["retryable"], true);
    assert_eq!(bench.ask("GET", "/readyz", "").await.0, 503);
    assert_eq!(bench.ask("GET", "/healthz", "").await.0, 200);
    let request = Request::get("/lock?resource=r").body(Body::empty()).unwrap();
    let served = bench.send(request).await;
    assert_eq!(
        (served.status(), &served.headers()["connection"]),
        (StatusCode::OK, &"close".parse().unwrap())
    );
    assert!(bench.service.is_quiet(Duration::ZERO));
}

#[tokio::test]
async fn a_member_that_stops_waits_for_those_who_do_not_know_yet_however_quiet_it_was() {
    let bench = Bench::new();
    let quiet = Duration::from_millis(500);
    while !bench.service.is_quiet(quiet) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.service.drain();
    assert!(!bench.service.is_quiet(quiet));
}

#[tokio::test]
async fn a_drain_lapses_unless_it_is_for_good() {
    let bench = Bench::new();
    let ready = || bench.ask("GET", "/readyz", "");
    bench.post("/lock/acquire", acquire("r", "a")).await;
    let waiting = bench.wait("b").await;
    bench.service.drain_for(Duration::from_hours(1));
    assert_eq!(waiting.await.unwrap().0, 503);
    assert_eq!(ready().await.0, 503);
    bench.service.drain_for(Duration::ZERO);
    assert_eq!(ready().await.0, 200);
    bench.service.drain();
    bench.service.drain_for(Duration::ZERO);
    assert_eq!(ready().await.0, 503, "who stops does not come back");
}

#[tokio::test]
async fn a_drain_that_goes_on_is_not_begun_again() {
    let bench = Bench::new();
    let quiet = Duration::from_millis(50);
    bench.service.drain_for(Duration::from_hours(1));
    assert!(!bench.service.is_quiet(quiet));
    while !bench.service.is_quiet(quiet) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.service.drain_for(Duration::from_hours(1));
    assert!(bench.service.is_quiet(quiet));
}

#[tokio::test]
async fn the_end_of_an_owner_goes_to_all_partitions() {
    let bench = Bench::new();
    for number in 0..20 {
        bench.post("/lock/acquire", acquire(&format!("r{number}"), "a b/c")).await;
    }
    let outcome = bench.ask("DELETE", "/lock/owner/a%20b%2Fc", "").await;
    assert_eq!(outcome, (200, json!({"released": 20, "cancelled": 0})));
}

#[tokio::test]
async fn a_second_upgrade_is_a_deadlock_that_names_the_cycle() {
    let bench = Bench::new();
    for owner in ["a", "b"] {
        bench.post("/lock/acquire", json!({"resource": "r", "owner": owner, "mode": "shared"})).await;
    }
    let _waiting = bench.wait("a").await;
    let (status, body) = bench.post("/lock/acquire", acquire_waiting("r", "b")).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("deadlock")));
    assert_eq!(body["cycle"], json!(["b", "a"]));
}

#[tokio::test]
async fn a_bad_request_is_told_which_field_is_wrong_and_what_is_allowed() {
    let bench = Bench::new();
    let long = "x".repeat(513);
    for (body, says) in [
        (String::new(), "EOF"),
        ("{".to_owned(), "EOF"),
        ("[]".to_owned(), "expected struct Acquire"),
        (json!({"owner": "a", "mode": "shared"}).to_string(), "missing field `resource`"),
        (json!({"resource": 5, "owner": "a", "mode": "shared"}).to_string(), "resource: invalid type"),
        (
            json!({"resource": "r", "owner": "a", "mode": "both"}).to_string(),
            "expected `exclusive` or `shared`",
        ),
        (
            json!({"resource": "r", "owner": "a", "mode": "shared", "ttl": 5}).to_string(),
            "unknown field `ttl`",
        ),
        (
            json!({"resource": "r", "owner": "a", "mode": "shared", "ttl_ms": -5}).to_string(),
            "ttl_ms: invalid",
        ),
        (
            json!({"resource": "r", "owner": "a", "mode": "shared", "ttl_ms": 0}).to_string(),
            "from 1 to 86400000",
        ),
        (
            json!({"resource": "r", "owner": "a", "mode": "shared", "wait_ms": 600_001}).to_string(),
            "0 to 600000",
        ),
        (json!({"resource": "", "owner": "a", "mode": "shared"}).to_string(), "resource: must have 1 to 512"),
        (json!({"resource": "r", "owner": long, "mode": "shared"}).to_string(), "owner: must have 1 to 512"),
        (json!({"resource": "r", "owner": "..", "mode": "shared"}).to_string(), "owner: must not be"),
        (json!({"resource": "r", "owner": "a", "mode": "shared"}).to_string() + "x", "trailing"),
    ] {
        let (status, answer) = bench.ask("POST", "/lock/acquire", body.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("bad_request")), "{body}");
        assert_eq!(answer["error"]["retryable"], false);
        assert!(message.contains(says), "{body} is told {message:?}");
    }
}

#[tokio::test]
async fn wrong_paths_methods_queries_and_sizes_are_told_in_the_same_form() {
    let bench = Bench::new();
    let large = "x".repeat(quartet_serve::body::BYTES_MAX + 1);
    for (method, path, body, status, code) in [
        ("GET", "/nothing", "", 404, "not_found"),
        ("GET", "/lock/acquire", "", 405, "method_not_allowed"),
        ("POST", "/lock/acquire", large.as_str(), 413, "too_large"),
        ("GET", "/lock", "", 400, "bad_request"),
        ("GET", "/lock?resource=r&x=1", "", 400, "bad_request"),
        ("DELETE", "/lock/owner/%FF", "", 400, "bad_request"),
    ] {
        let (got, answer) = bench.ask(method, path, body.to_owned()).await;
        assert_eq!(
            (got, answer["error"]["code"].as_str()),
            (status, Some(code)),
            "{method} {path}: {answer}"
        );
    }
}

#[tokio::test]
async fn the_first_outcome_is_answered_again_under_its_key() {
    let bench = Bench::new();
    let first = bench.keyed("k", "/lock/acquire", acquire("r", "a")).await;
    bench.post("/lock/release", json!({"resource": "r", "owner": "a"})).await;
    assert_eq!(bench.keyed("k", "/lock/acquire", acquire("r", "a")).await, first);
    let (_, free) = bench.ask("GET", "/lock?resource=r", "").await;
    assert_eq!(free["holders"], json!([]), "it was not done again");
}

#[tokio::test]
async fn a_key_stands_for_one_request_whatever_partition_another_one_goes_to() {
    let bench = Bench::new();
    assert_eq!(bench.keyed("k", "/lock/acquire", acquire("r", "a")).await.0, 200);
    let resource = elsewhere(&["k", "r"]);
    for (path, body) in [
        ("/lock/acquire", acquire("r", "b")),
        ("/lock/acquire", acquire(&resource, "a")),
        ("/lock/release", json!({"resource": "r", "owner": "a"})),
    ] {
        let (status, answer) = bench.keyed("k", path, body).await;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("key_reused")));
    }
    let (status, _) = bench.keyed("k k", "/lock/acquire", acquire("r", "a")).await;
    assert_eq!(status, 400, "a key is visible ASCII");
}

#[tokio::test]
async fn on_a_full_disk_locks_are_renewed_and_released_under_a_key_too() {
    let bench = Bench::new();
    let held = elsewhere(&["renews", "releases", "takes"]);
    let (_, grant) = bench.post("/lock/acquire", acquire(&held, "a")).await;
    bench.member.fill_disk();
    let (status, answer) = bench.keyed("takes", "/lock/acquire", acquire("another", "a")).await;
    assert_eq!((status, &answer["error"]["code"]), (429, &json!("no_space")));
    let token = &grant["fencing_token"];
    let renew = json!({"resource": held, "owner": "a", "fencing_token": token});
    assert_eq!(bench.keyed("renews", "/lock/renew", renew).await.0, 200);
    let release = json!({"resource": held, "owner": "a"});
    assert_eq!(bench.keyed("releases", "/lock/release", release).await.0, 200);
}

#[tokio::test]
async fn failures_of_the_replica_say_whether_it_was_applied() {
    let bench = Bench::new();
    for (failure, status, code, retryable) in [
        (Failure::NotMember, 503, "unavailable", true),
        (Failure::Unavailable, 503, "unavailable", true),
        (Failure::Unknown, 504, "outcome_unknown", true),
        (Failure::Full, 429, "full", true),
        (Failure::NoSpace, 429, "no_space", true),
    ] {
        bench.member.fail(Some(failure));
        let (got, answer) = bench.post("/lock/acquire", acquire("r", "a")).await;
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)));
        assert_eq!(answer["error"]["retryable"], retryable);
    }
    let request = Request::post("/lock/acquire").body(Body::from(acquire("r", "a").to_string())).unwrap();
    assert_eq!(bench.send(request).await.headers()["retry-after"], "1");
    bench.member.fail(Some(Failure::Unavailable));
    let (status, answer) = bench.ask("GET", "/readyz", "").await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("not_ready")));
}

#[tokio::test]
async fn a_member_of_no_cluster_is_alive_and_serves_nothing() {
    let bench = Bench::new();
    bench.member.empty();
    let (status, answer) = bench.post("/lock/acquire", acquire("r", "a")).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("unavailable")));
    assert_eq!(bench.ask("GET", "/readyz", "").await.0, 503);
    assert_eq!(bench.ask("GET", "/healthz", "").await.0, 200);
    assert_eq!(bench.ask("GET", "/status", "").await.1["ready"], false);
}

#[tokio::test]
async fn status_names_members_partitions_and_their_leaders() {
    let bench = Bench::new();
    let (status, body) = bench.ask("GET", "/status", "").await;
    assert_eq!((status, &body["cluster"], &body["ready"]), (200, &json!("demo"), &json!(true)));
    assert_eq!(body["members"], json!([{"id": 0, "address": "localhost:1", "reachable": true}]));
    assert_eq!(body["partitions"][3], json!({"id": 3, "leader": 0, "term": 3}));
    let (_, body) = bench.ask("GET", "/raft/status", "").await;
    assert_eq!(body["groups"][0]["role"], "LEADER");
    assert_eq!(body["groups"][0]["members"], json!([{"id": 0, "voter": true}]));
}

#[tokio::test]
async fn metrics_tell_roles_locks_latencies_and_the_process() {
    let bench = Bench::new();
    bench.post("/lock/acquire", acquire("r", "a")).await;
    bench.post("/lock/acquire", acquire("r", "b")).await;
    bench.post("/lock/acquire", acquire("s", "a")).await;
    bench.post("/lock/release", json!({"resource": "s", "owner": "a"})).await;
    let (_, text) = bench.ask("GET", "/metrics", "").await;
    let text = text.as_str().unwrap();
    let partition = quartet_client::partition_of("r", PARTITIONS);
    for line in [
        "raft_role{partition=\"3\"} 2",
        "raft_append_entries_total 11",
        "raft_request_vote_total 0",
        "lock_acquire_total{result=\"granted\"} 2",
        "lock_acquire_total{result=\"held\"} 1",
        "lock_release_total 1",
        &format!("lock_held{{partition=\"{partition}\"}} 1"),
        "request_seconds_count{operation=\"lock_acquire\"} 3",
        "fsync_seconds_bucket{le=\"+Inf\"} 0",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line} is not in\n{text}");
    }
}
