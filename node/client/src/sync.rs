//! A client of SyncCluster. Every call is one request: retrying is the caller's, who knows what may be repeated.

use std::time::Duration;

use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ClientError, ErrorBody};
use crate::lock::{Acquire, Grant, LockStatus, OwnerReleased, Release, Released, Renew};
use crate::status::{RaftStatus, Status};

/// Asks one member, or a Service of them. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct SyncClient {
    http: reqwest::Client,
    base: Url,
    timeout: Duration,
    key: Option<String>,
}

impl SyncClient {
    /// `base` is where a member serves HTTP, such as `http://demo:8100`.
    pub fn new(base: &str) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(2))
            .no_proxy()
            .build()
            .map_err(ClientError::Client)?;
        Self::with_http(http, base)
    }

    pub fn with_http(http: reqwest::Client, base: &str) -> Result<Self, ClientError> {
        let address = || ClientError::Address { url: base.into() };
        let base = Url::parse(base).map_err(|_| address())?;
        if base.cannot_be_a_base() {
            return Err(address());
        }
        Ok(Self { http, base, timeout: Duration::from_secs(10), key: None })
    }

    /// How long each request may take, beyond what it waits for a lock. 10 s if not set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same client with an idempotency key on every POST: one key for one request and its repetitions.
    #[must_use]
    pub fn keyed(&self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self.clone() }
    }

    pub async fn acquire(&self, acquire: &Acquire) -> Result<Grant, ClientError> {
        let waits = Duration::from_millis(acquire.wait_ms.unwrap_or(0));
        let url = self.url(&["lock", "acquire"]);
        self.send(Method::POST, url, Some(acquire), self.timeout + waits).await
    }

    pub async fn renew(&self, renew: &Renew) -> Result<Grant, ClientError> {
        self.send(Method::POST, self.url(&["lock", "renew"]), Some(renew), self.timeout).await
    }

    pub async fn release(&self, release: &Release) -> Result<Released, ClientError> {
        self.send(Method::POST, self.url(&["lock", "release"]), Some(release), self.timeout).await
    }

    /// Frees all that the owner holds or waits for.
    pub async fn release_owner(&self, owner: &str) -> Result<OwnerReleased, ClientError> {
        self.send(Method::DELETE, self.url(&["lock", "owner", owner]), None::<&()>, self.timeout).await
    }

    pub async fn lock(&self, resource: &str) -> Result<LockStatus, ClientError> {
        let mut url = self.url(&["lock"]);
        url.query_pairs_mut().append_pair("resource", resource);
        self.send(Method::GET, url, None::<&()>, self.timeout).await
    }

    pub async fn status(&self) -> Result<Status, ClientError> {
        self.send(Method::GET, self.url(&["status"]), None::<&()>, self.timeout).await
    }

    pub async fn raft_status(&self) -> Result<RaftStatus, ClientError> {
        self.send(Method::GET, self.url(&["raft", "status"]), None::<&()>, self.timeout).await
    }

    /// Whether the member can serve linearizable requests now.
    pub async fn is_ready(&self) -> Result<bool, ClientError> {
        let url = self.url(&["readyz"]);
        let text = url.to_string();
        let answer = self.http.get(url).timeout(self.timeout).send().await;
        Ok(answer.map_err(|source| unanswered(text, source))?.status().is_success())
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Never an error: a base that has no path was refused above.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn send<A: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<&impl Serialize>,
        timeout: Duration,
    ) -> Result<A, ClientError> {
        let text = url.to_string();
        let mut request = self.http.request(method, url).timeout(timeout);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.map_err(|source| unanswered(text.clone(), source))?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|source| unanswered(text.clone(), source))?;
        let unreadable = |source| ClientError::Unreadable { url: text, status: status.as_u16(), source };
        if status.is_success() {
            serde_json::from_slice(&bytes).map_err(unreadable)
        } else {
            let body: ErrorBody = serde_json::from_slice(&bytes).map_err(unreadable)?;
            Err(ClientError::Refused { status: status.as_u16(), body: Box::new(body) })
        }
    }
}

fn unanswered(url: String, source: reqwest::Error) -> ClientError {
    if source.is_connect() || source.is_builder() {
        ClientError::Unreachable { url, source }
    } else {
        ClientError::NoAnswer { url, source }
    }
}
