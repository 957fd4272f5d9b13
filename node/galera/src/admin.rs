//! The authenticated port 8199: what the operator asks of this member and tells it to do (contract and types in
//! `quartet_client::galera`). Reached by nobody else; never behind the clients' Service.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use quartet_client::galera::{Bootstrap, Drain, MemberReport};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use crate::http::{BODY_BYTES_MAX, Refusal, check_token};
use crate::manager::{Answer, Command, Face};

#[derive(Debug)]
struct Admin {
    token_file: PathBuf,
    face: watch::Receiver<Arc<Face>>,
    commands: mpsc::Sender<Command>,
}

pub fn router(
    token_file: PathBuf,
    face: watch::Receiver<Arc<Face>>,
    commands: mpsc::Sender<Command>,
) -> Router {
    let admin = Arc::new(Admin { token_file, face, commands });
    Router::new()
        .route("/v1/member", get(member))
        .route("/v1/bootstrap", post(bootstrap))
        .route("/v1/drain", post(drain))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(admin.clone(), authenticate))
        .with_state(admin)
}

async fn authenticate(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    check_token(&admin.token_file, request.headers().get(header::AUTHORIZATION)).await?;
    Ok(next.run(request).await)
}

async fn member(State(admin): State<Arc<Admin>>) -> Json<MemberReport> {
    Json(admin.face.borrow().member.clone())
}

async fn bootstrap(
    State(admin): State<Arc<Admin>>,
    body: Result<Json<Bootstrap>, JsonRejection>,
) -> Result<Json<Value>, Refusal> {
    let Json(grant) = read(body)?;
    admin.tell(|reply| Command::Bootstrap(grant, reply)).await
}

async fn drain(
    State(admin): State<Arc<Admin>>,
    body: Result<Json<Drain>, JsonRejection>,
) -> Result<Json<Value>, Refusal> {
    let Json(drain) = read(body)?;
    admin.tell(|reply| Command::Drain(drain, reply)).await
}

fn read<T>(body: Result<Json<T>, JsonRejection>) -> Result<Json<T>, Refusal> {
    body.map_err(|rejection| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_request", rejection.body_text(), false)
    })
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
            Err(why) => Err(Refusal::new(StatusCode::CONFLICT, "refused", why.to_string(), false)),
        }
    }
}
