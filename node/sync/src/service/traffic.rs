//! Around every request: how long it took, whether any is under way, and, while the member drains, the advice to go
//! elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Service;
use crate::member::Member;

#[derive(Debug)]
pub(super) struct Traffic {
    began: Instant,
    under_way: AtomicUsize,
    /// When a client last came or was answered, after `began`.
    last_ms: AtomicU64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { began: Instant::now(), under_way: AtomicUsize::new(0), last_ms: AtomicU64::new(0) }
    }
}

impl Traffic {
    pub(super) fn is_quiet(&self, for_at_least: Duration) -> bool {
        let last = Duration::from_millis(self.last_ms.load(Ordering::SeqCst));
        self.under_way.load(Ordering::SeqCst) == 0
            && self.began.elapsed().saturating_sub(last) >= for_at_least
    }

    /// From now on it was quiet for no time yet.
    pub(super) fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.fetch_max(now, Ordering::SeqCst);
    }

    fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        self.touch();
        UnderWay(self)
    }
}

/// Ends with the request, also when its connection goes.
struct UnderWay<'a>(&'a Traffic);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.touch();
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) async fn measure<M: Member>(
    State(service): State<Arc<Service<M>>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let Some(operation) = path.and_then(operation) else { return next.run(request).await };
    let began = Instant::now();
    let under_way = service.traffic.begin();
    let mut response = next.run(request).await;
    drop(under_way);
    service.metrics.took(operation, began.elapsed());
    if service.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What clients do; probes and scrapes are not traffic that a stop should wait for.
fn operation(path: &str) -> Option<&'static str> {
    match path {
        "/lock/acquire" => Some("lock_acquire"),
        "/lock/renew" => Some("lock_renew"),
        "/lock/release" => Some("lock_release"),
        "/lock/owner/{owner}" => Some("lock_release_owner"),
        "/lock" => Some("lock_get"),
        _ => None,
    }
}
