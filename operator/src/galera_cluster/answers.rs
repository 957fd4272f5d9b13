//! `observe` and `call` against an API server in memory and managers on this machine's loopback addresses.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use http::{Request, Response};
use kube::{Client, client::Body};
use quartet_client::{
    admin::{self, AdminClient},
    galera::{Bootstrap, Drain, MemberState},
};
use quartet_crds::galera_cluster::{SecretKeyRef, User};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

use super::{Call, Command, Seen, call::call, fixture, observe::observe};
use crate::{
    children::secrets,
    failure::Class,
    fixture::settings,
    kube::{Context, events::Events},
    members::Probe,
};

const TOKEN: &str = "secret";
const NAMESPACE: &str = "/api/v1/namespaces/default";

/// Answers what it was given, by path; what is not there is 404, and a list that is not there is empty.
fn api(objects: BTreeMap<String, Value>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let is_list =
            ["/pods", "/persistentvolumeclaims", "/storageclasses"].iter().any(|end| path.ends_with(end));
        let missing = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
        let (code, body) = if is_list {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let of_proxies = query.contains("component%3Dproxy");
            let items = objects.get(&path).filter(|_| !of_proxies).cloned().unwrap_or(json!([]));
            (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}))
        } else {
            objects.get(&path).map_or((404, missing), |object| (200, object.clone()))
        };
        async move {
            Ok::<_, std::io::Error>(
                Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap(),
            )
        }
    });
    Client::new(service, "default")
}

fn context(objects: BTreeMap<String, Value>) -> Context {
    let client = api(objects);
    Context {
        events: Arc::new(Events::new(client.clone(), "test")),
        client,
        settings: settings(),
        metrics: Arc::default(),
        members: AdminClient::new(Duration::from_secs(1)).unwrap(),
    }
}

/// A manager's authenticated port, with what it was told.
struct Manager {
    told: Arc<Mutex<Vec<(String, Value)>>>,
    serving: JoinHandle<()>,
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type Told = Arc<Mutex<Vec<(String, Value)>>>;

fn is_operator(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"))
}

impl Manager {
    async fn start(address: IpAddr, report: Value, answer: StatusCode) -> Self {
        let told = Told::default();
        let member = get(move |headers: HeaderMap| async move {
            if is_operator(&headers) { Ok(Json(report)) } else { Err(StatusCode::FORBIDDEN) }
        });
        let tell = move |path: &'static str| {
            post(move |State(told): State<Told>, headers: HeaderMap, Json(body): Json<Value>| async move {
                if !is_operator(&headers) {
                    return (StatusCode::FORBIDDEN, Json(json!({})));
                }
                told.lock().unwrap().push((path.to_owned(), body));
                let refusal = json!({"error": {"code": "refused", "message": "the run is another"}});
                (answer, Json(if answer == StatusCode::OK { json!({}) } else { refusal }))
            })
        };
        let router = Router::new()
            .route("/v1/member", member)
            .route("/v1/bootstrap", tell("/v1/bootstrap"))
            .route("/v1/drain", tell("/v1/drain"))
            .with_state(Arc::clone(&told));
        let listener = TcpListener::bind(SocketAddr::new(address, admin::PORT)).await.unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { told, serving }
    }

    fn told(&self) -> Vec<(String, Value)> {
        self.told.lock().unwrap().clone()
    }
}

/// The whole of 127.0.0.0/8 is this machine: each test has a part of its own.
fn address(test: u8, ordinal: u16) -> IpAddr {
    [127, 91, test, u8::try_from(ordinal).unwrap() + 1].into()
}

/// A settled cluster as the API server has it, its members at this test's addresses.
fn objects(cluster: &fixture::Cluster, test: u8) -> BTreeMap<String, Value> {
    let seen = cluster.seen();
    let owner = json!([{"apiVersion": "quartet.dev/v1alpha1", "kind": "GaleraCluster", "name": "shop",
                        "uid": "owner", "controller": true}]);
    let mut set = serde_json::to_value(seen.members.stateful_set.unwrap()).unwrap();
    set["metadata"]["ownerReferences"] = owner.clone();
    let set_owner = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "shop",
                            "uid": set["metadata"]["uid"], "controller": true}]);
    let pods = seen.members.pods.iter().map(|(ordinal, pod)| {
        let mut pod = serde_json::to_value(pod).unwrap();
        pod["metadata"]["ownerReferences"] = set_owner.clone();
        pod["status"]["podIP"] = json!(address(test, *ordinal));
        pod
    });
    let mut objects = BTreeMap::from([
        ("/apis/apps/v1/namespaces/default/statefulsets/shop".to_owned(), set),
        (format!("{NAMESPACE}/pods"), pods.collect()),
    ]);
    let mut secrets = seen.made;
    let token = [("token".to_owned(), secrets::text(TOKEN))].into();
    secrets.get_mut("shop-admin").unwrap().data = Some(token);
    for (name, secret) in secrets {
        let mut secret = serde_json::to_value(secret).unwrap();
        secret["metadata"]["ownerReferences"] = owner.clone();
        objects.insert(format!("{NAMESPACE}/secrets/{name}"), secret);
    }
    objects
}

/// What a manager of that ordinal would say, as JSON.
fn report(cluster: &fixture::Cluster, ordinal: u16) -> Value {
    let seen = cluster.seen();
    serde_json::to_value(seen.report(ordinal).unwrap()).unwrap()
}

async fn seen(cluster: &fixture::Cluster, test: u8) -> Seen {
    observe(&context(objects(cluster, test)), &cluster.resource).await.unwrap()
}

#[tokio::test]
async fn every_member_with_an_address_is_asked_with_the_token() {
    let cluster = fixture::cluster().settled();
    let _first = Manager::start(address(1, 0), report(&cluster, 0), StatusCode::OK).await;
    // The address is another member's by now.
    let _second = Manager::start(address(1, 1), report(&cluster, 2), StatusCode::OK).await;
    let seen = seen(&cluster, 1).await;
    assert_eq!(seen.report(0).map(|report| report.state), Some(MemberState::Synced));
    assert!(matches!(seen.probes[&1], Probe::Answered(_)) && seen.report(1).is_none(), "another's word");
    let Probe::Failed(why) = &seen.probes[&2] else { panic!("nobody listens there") };
    assert!(why.contains("/v1/member"), "{why}");
    assert_eq!(seen.members.pods.len(), 3);
}

#[tokio::test]
async fn children_are_seen_where_they_are_ours_and_secrets_of_the_user_whoever_made_them() {
    let cluster = fixture::cluster().settled().with_spec(|spec| {
        let named = SecretKeyRef { name: "mine".into(), key: "password".into() };
        spec.users.push(User { name: "other".into(), database: None, password_secret_ref: Some(named) });
    });
    let mut objects = objects(&cluster, 2);
    let theirs = json!({"metadata": {"name": "mine"}, "data": {"password": "eA=="}});
    objects.insert(format!("{NAMESPACE}/secrets/mine"), theirs);
    // Somebody else's object with a child's name.
    objects.get_mut(&format!("{NAMESPACE}/secrets/shop-proxy-stats")).unwrap()["metadata"]["ownerReferences"] =
        json!(null);
    let seen = observe(&context(objects), &cluster.resource).await.unwrap();
    let names = |map: &BTreeMap<String, _>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&seen.made), ["shop-passwords", "shop-user-app"]);
    assert_eq!(names(&seen.named), ["mine"]);
    assert!(seen.proxy.is_none() && seen.budget.is_none());
}

fn bootstrap() -> Bootstrap {
    let position = "6b1d3e2a-7c55-11f0-8de9-0242ac120002:7".parse().ok();
    let [operation, incarnation, run] = [1, 2, 3].map(Uuid::from_u128);
    Bootstrap { operation, incarnation, run, position, new_history: false }
}

#[tokio::test]
async fn commands_reach_the_member_that_they_are_for_as_they_are() {
    let cluster = fixture::cluster().settled();
    let manager = Manager::start(address(3, 1), report(&cluster, 1), StatusCode::OK).await;
    let (ctx, seen) = (context(objects(&cluster, 3)), seen(&cluster, 3).await);
    let drain = Drain { operation: Uuid::from_u128(4), run: Uuid::from_u128(5) };
    for command in [Command::Bootstrap(bootstrap()), Command::Drain(drain.clone())] {
        call(&ctx, &seen, &Call { ordinal: 1, command }).await.unwrap();
    }
    let expected = [
        ("/v1/bootstrap".to_owned(), serde_json::to_value(bootstrap()).unwrap()),
        ("/v1/drain".to_owned(), serde_json::to_value(drain).unwrap()),
    ];
    assert_eq!(manager.told(), expected);
}

#[tokio::test]
async fn a_refusal_is_a_conflict_that_says_why_and_silence_is_tried_again() {
    let cluster = fixture::cluster().settled();
    let _refuses = Manager::start(address(4, 0), report(&cluster, 0), StatusCode::CONFLICT).await;
    let _fails = Manager::start(address(4, 1), report(&cluster, 1), StatusCode::SERVICE_UNAVAILABLE).await;
    let (ctx, seen) = (context(objects(&cluster, 4)), seen(&cluster, 4).await);
    let ask = async |ordinal| {
        let command = Command::Bootstrap(bootstrap());
        call(&ctx, &seen, &Call { ordinal, command }).await.unwrap_err()
    };
    let refused = ask(0).await;
    assert_eq!(refused.class, Class::Conflict);
    assert!(refused.chain().contains("the run is another"), "{}", refused.chain());
    for ordinal in [1, 2, 9] {
        let failed = ask(ordinal).await;
        assert_eq!(failed.class, Class::Transient, "{}", failed.chain());
        assert!(failed.chain().contains(&format!("member {ordinal}")), "{}", failed.chain());
    }
}
