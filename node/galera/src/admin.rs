//! The authenticated port 8199: what the operator asks of this member and tells it to do (contract and types in
//! `quartet_client::galera`). Reached by nobody else; never behind the clients' Service.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use quartet_client::galera::{Bootstrap, Drain, MemberReport};
use quartet_serve::body::{self, Body};
use quartet_serve::{Refusal, routes, token};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use crate::manager::{Answer, Command, Face};

#[derive(Debug)]
struct Admin {
    face: watch::Receiver<Arc<Face>>,
    commands: mpsc::Sender<Command>,
}

pub fn router(
    token_file: PathBuf,
    face: watch::Receiver<Arc<Face>>,
    commands: mpsc::Sender<Command>,
) -> Router {
    let routes = Router::new()
        .route("/v1/member", get(member))
        .route("/v1/bootstrap", post(bootstrap))
        .route("/v1/drain", post(drain))
        .with_state(Arc::new(Admin { face, commands }));
    token::required(routes::only(routes), token_file)
}

/// What a manager said that does not keep up is no ground for a decision.
const FRESH: Duration = Duration::from_secs(5);

async fn member(State(admin): State<Arc<Admin>>) -> Result<Json<MemberReport>, Refusal> {
    let face = Arc::clone(&admin.face.borrow());
    if face.at.elapsed() > FRESH {
        return Err(Refusal::unavailable("stale", "the manager does not keep up"));
    }
    Ok(Json(face.member.clone()))
}

async fn bootstrap(State(admin): State<Arc<Admin>>, body: Body) -> Result<Json<Value>, Refusal> {
    let grant: Bootstrap = body::read(body)?;
    admin.tell(|reply| Command::Bootstrap(grant, reply)).await
}

async fn drain(State(admin): State<Arc<Admin>>, body: Body) -> Result<Json<Value>, Refusal> {
    let drain: Drain = body::read(body)?;
    admin.tell(|reply| Command::Drain(drain, reply)).await
}

impl Admin {
    async fn tell(
        &self,
        command: impl FnOnce(oneshot::Sender<Answer>) -> Command,
    ) -> Result<Json<Value>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let gone = || Refusal::unavailable("stopping", "the member stops");
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        match answer.await.map_err(|_| gone())? {
            Ok(()) => Ok(Json(json!({}))),
            Err(why) => Err(Refusal::conflict("refused", why.to_string(), false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use tower::ServiceExt;
    use uuid::Uuid;

    use super::*;
    use crate::decide::Refused;

    struct Bench {
        router: Router,
        token: tempfile::NamedTempFile,
        commanded: mpsc::Receiver<Command>,
        _face: watch::Sender<Arc<Face>>,
    }

    impl Bench {
        fn new() -> Self {
            let token = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(token.path(), "secret\n").unwrap();
            let (tell, face) = watch::channel(Arc::new(Face::example()));
            let (commands, commanded) = mpsc::channel(1);
            Self { router: router(token.path().to_owned(), face, commands), token, commanded, _face: tell }
        }

        async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
            ask(self.router.clone(), method, path, token, body).await
        }
    }

    async fn ask(router: Router, method: &str, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer =
            router.oneshot(request.body(axum::body::Body::from(body.to_string())).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn grant() -> Value {
        json!({"operation": Uuid::from_u128(1), "incarnation": Uuid::from_u128(5), "run": Uuid::from_u128(3),
               "position": "6b1d3e2a-7c55-11f0-8de9-0242ac120002:7"})
    }

    #[tokio::test]
    async fn nothing_is_answered_without_the_token_of_the_moment() {
        let bench = Bench::new();
        let ask = |token: Option<&'static str>| bench.ask("GET", "/v1/member", token, Value::Null);
        assert_eq!(ask(None).await.0, 401);
        assert_eq!(ask(Some("secre")).await.0, 403);
        assert_eq!(ask(Some("")).await.0, 403);
        let (status, report) = ask(Some("secret")).await;
        assert_eq!((status, &report["incarnation"]), (200, &json!(Uuid::from_u128(5))));
        std::fs::write(bench.token.path(), "\n").unwrap();
        assert_eq!(ask(Some("")).await.0, 403, "an empty token opens nothing");
        assert_eq!(bench.ask("POST", "/v1/bootstrap", None, grant()).await.0, 401);
    }

    #[tokio::test]
    async fn a_grant_reaches_the_manager_as_it_is_and_its_refusal_comes_back() {
        let mut bench = Bench::new();
        let asked = tokio::spawn(ask(bench.router.clone(), "POST", "/v1/bootstrap", Some("secret"), grant()));
        let Some(Command::Bootstrap(given, reply)) = bench.commanded.recv().await else { panic!() };
        assert_eq!((given.run, given.position.unwrap().seqno), (Uuid::from_u128(3), 7));
        reply.send(Err(Refused::PrimaryVisible(1).into())).unwrap();
        let (status, body) = asked.await.unwrap();
        assert_eq!((status, &body["error"]["code"]), (409, &json!("refused")));
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("member 1 is part of a Primary component"), "{message}");
    }

    #[tokio::test]
    async fn what_is_not_a_command_never_reaches_the_manager() {
        let mut bench = Bench::new();
        let mut unknown = grant();
        unknown["force"] = json!(true);
        for wrong in [unknown, json!({"operation": Uuid::from_u128(1)}), json!({})] {
            assert_eq!(bench.ask("POST", "/v1/bootstrap", Some("secret"), wrong).await.0, 400);
        }
        assert!(bench.commanded.try_recv().is_err());
    }
}
