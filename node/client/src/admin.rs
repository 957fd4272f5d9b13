//! The authenticated port 8199: what the operator asks of a member and tells it to do.
//!
//! Every request carries `Authorization: Bearer <token>`. Commands are idempotent, carry the id of the operation
//! that the operator recorded before it acted, and name what they expect to find, so that a stale operator's
//! command is refused (409) and changes nothing.
//!
//! | request | does |
//! |---|---|
//! | `GET /v1/member` | [`MemberReport`] |
//! | `POST /v1/found` [`Found`] | an empty member becomes a founder of the named cluster |
//! | `POST /v1/membership` [`ChangeMembership`] | changes the configuration of the groups that it leads |
//! | `POST /v1/drain` [`Drain`] | leaves the clients' Service for a while and hands all leaderships to other voters |
//! | `POST /v1/reset` [`Reset`] | a removed or corrupt member gives up its data and becomes empty, with a new incarnation |

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub const PORT: u16 = 8199;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberReport {
    /// Name of the cluster, as its resource is named.
    pub name: String,
    pub version: String,
    pub ordinal: u16,
    pub incarnation: Uuid,
    /// The cluster that this member belongs to; none while it is empty.
    pub cluster: Option<Uuid>,
    pub state: MemberState,
    /// For a human, when `state` is Blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub groups: Vec<GroupReport>,
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
    /// Leaves its clients' Service: told to by [`Drain`], or about to stop. Members of an older version do not tell.
    #[serde(default)]
    pub draining: bool,
    /// No client's request is under way, and none has come for a while.
    #[serde(default)]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberState {
    /// An empty volume: waits to be made a founder or to be added.
    Empty,
    /// Belongs to a cluster and serves its groups as far as their configurations say.
    Serving,
    /// Damage in the middle of its log: takes no part until reset.
    Blocked,
}

/// One Raft group as this member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupReport {
    pub group: u16,
    pub role: GroupRole,
    pub term: u64,
    pub leader: Option<Peer>,
    pub last_index: u64,
    pub commit_index: u64,
    pub applied_index: u64,
    pub configuration: GroupConfiguration,
    /// What the leader knows of the others; empty elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<PeerProgress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum GroupRole {
    Leader,
    Follower,
    Candidate,
    Learner,
}

/// A member's id: an ordinal may have had other incarnations before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    pub ordinal: u16,
    pub incarnation: Uuid,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupConfiguration {
    /// The log index that set it: what a change has to expect.
    pub index: u64,
    pub committed: bool,
    pub voters: Vec<Peer>,
    /// The voters before, while a change is under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outgoing: Vec<Peer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learners: Vec<Peer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerProgress {
    pub peer: Peer,
    pub matched_index: u64,
    /// Heard from within an election timeout.
    pub active: bool,
    /// Its log is within reach of the leader's: it may be made a voter.
    pub caught_up: bool,
}

/// A member and where its peer port is, `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    pub peer: Peer,
    pub address: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Found {
    pub operation: Uuid,
    pub cluster: Uuid,
    /// All founders, this member's own current incarnation among them.
    pub members: Vec<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeMembership {
    pub operation: Uuid,
    pub cluster: Uuid,
    pub groups: Vec<GroupChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupChange {
    pub group: u16,
    /// The configuration that this change starts from; any other refuses it.
    pub expected_index: u64,
    pub voters: Vec<Address>,
    pub learners: Vec<Address>,
}

/// It lapses some 20 s after the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    pub operation: Uuid,
    pub cluster: Uuid,
    /// All that leave together: no leadership is handed to any of them.
    pub leaving: Vec<Peer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reset {
    pub operation: Uuid,
    /// The incarnation whose data is to go; any other refuses it.
    pub incarnation: Uuid,
}

/// What became of a command: per group, by number; a group not led here is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandOutcome {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<u16, GroupOutcome>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupOutcome {
    pub accepted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// The longest answer that is read.
const ANSWER_BYTES: usize = 4 << 20;
/// The longest part of an answer in an error that is passed on.
const REFUSAL_CHARS: usize = 500;

/// Asks members and tells them; one for all of them, so that connections are reused.
#[derive(Clone, Debug)]
pub struct AdminClient {
    http: reqwest::Client,
}

impl AdminClient {
    /// `timeout` bounds each request as a whole.
    pub fn new(timeout: Duration) -> Result<Self, AdminError> {
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            // Members are reached by their addresses in the cluster, whatever the environment says.
            .no_proxy()
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_max_idle_per_host(1)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(AdminError::Client)?;
        Ok(Self { http })
    }

    pub fn member(&self, address: SocketAddr, token: impl Into<String>) -> MemberClient {
        MemberClient { http: self.http.clone(), address, token: token.into() }
    }
}

/// One member's authenticated port.
#[derive(Clone)]
pub struct MemberClient {
    http: reqwest::Client,
    address: SocketAddr,
    token: String,
}

impl MemberClient {
    pub async fn report(&self) -> Result<MemberReport, AdminError> {
        self.ask("/v1/member").await
    }

    pub async fn found(&self, command: &Found) -> Result<CommandOutcome, AdminError> {
        self.command("/v1/found", command).await
    }

    pub async fn change_membership(&self, command: &ChangeMembership) -> Result<CommandOutcome, AdminError> {
        self.command("/v1/membership", command).await
    }

    pub async fn drain(&self, command: &Drain) -> Result<CommandOutcome, AdminError> {
        self.command("/v1/drain", command).await
    }

    pub async fn reset(&self, command: &Reset) -> Result<CommandOutcome, AdminError> {
        self.command("/v1/reset", command).await
    }

    pub(crate) async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        path: &'static str,
    ) -> Result<T, AdminError> {
        let body = self.send(reqwest::Method::GET, path, None::<&()>).await?;
        self.read(path, &body)
    }

    /// A command whose answer says no more than that it was taken.
    pub(crate) async fn tell(&self, path: &'static str, body: &impl Serialize) -> Result<(), AdminError> {
        self.send(reqwest::Method::POST, path, Some(body)).await.map(drop)
    }

    async fn command(&self, path: &'static str, body: &impl Serialize) -> Result<CommandOutcome, AdminError> {
        let answer = self.send(reqwest::Method::POST, path, Some(body)).await?;
        if answer.is_empty() { Ok(CommandOutcome::default()) } else { self.read(path, &answer) }
    }

    async fn send(
        &self,
        method: reqwest::Method,
        path: &'static str,
        body: Option<&impl Serialize>,
    ) -> Result<Vec<u8>, AdminError> {
        let address = self.address;
        let unreachable = |source| AdminError::Unreachable { path, address, source };
        let mut request =
            self.http.request(method, format!("http://{address}{path}")).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES {
                return Err(AdminError::TooLong { path, address });
            }
            bytes.extend_from_slice(&chunk);
        }
        let status = response.status().as_u16();
        if response.status().is_success() {
            return Ok(bytes);
        }
        let (code, message) = refusal(&bytes);
        Err(AdminError::Refused { path, address, status, code, message })
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, path: &'static str, body: &[u8]) -> Result<T, AdminError> {
        serde_json::from_slice(body).map_err(|source| AdminError::Unreadable {
            path,
            address: self.address,
            source,
        })
    }
}

/// Code and message of `{"error": {"code", "message"}}`, or what else was answered.
fn refusal(body: &[u8]) -> (String, String) {
    let value = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let field = |name: &str| value.pointer(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    let message = field("/error/message").unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    (field("/error/code").unwrap_or_default(), message.chars().take(REFUSAL_CHARS).collect())
}

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    /// The command may or may not have been carried out.
    #[error("{path} of {address} did not answer")]
    Unreachable {
        path: &'static str,
        address: SocketAddr,
        #[source]
        source: reqwest::Error,
    },
    #[error("{path} of {address} answered {status} {code}: {message}")]
    Refused { path: &'static str, address: SocketAddr, status: u16, code: String, message: String },
    #[error("{path} of {address} answered something unreadable")]
    Unreadable {
        path: &'static str,
        address: SocketAddr,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path} of {address} answered more than {ANSWER_BYTES} bytes")]
    TooLong { path: &'static str, address: SocketAddr },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_from_the_form_of_all_errors_or_passed_on_as_it_is() {
        let body = br#"{"error": {"code": "stale", "message": "expected index 7", "retryable": true}}"#;
        assert_eq!(refusal(body), ("stale".to_owned(), "expected index 7".to_owned()));
        assert_eq!(refusal(b"bad gateway"), (String::new(), "bad gateway".to_owned()));
        assert_eq!(refusal(&[b'x'; 10_000]).1.len(), REFUSAL_CHARS);
    }

    #[tokio::test]
    async fn a_report_is_asked_for_with_the_token_and_a_refusal_keeps_its_code() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let body = r#"{"error":{"code":"stale","message":"another operation","retryable":false}}"#;
            let answer = format!("HTTP/1.1 409 Conflict\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let client = AdminClient::new(Duration::from_secs(5)).unwrap();
        let error = client.member(address, "secret").report().await.unwrap_err();
        assert!(
            matches!(&error, AdminError::Refused { status: 409, code, .. } if code == "stale"),
            "{error}"
        );
        let request = server.await.unwrap();
        assert!(request.starts_with("GET /v1/member "), "{request}");
        assert!(request.contains("authorization: Bearer secret\r\n"), "{request}");
    }
}
