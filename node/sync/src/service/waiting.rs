//! A request that waits for a lock: when nobody listens any more, its wait ends too.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use quartet_replica::GroupId;

use super::Service;
use super::draining::Begun;
use super::replicated::{NotExecuted, Replicated, TIMEOUT};
use crate::lock::{self, answer, command};
use crate::member::Member;

const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Dropped while it is armed, as the server drops a handler whose connection has gone, it proposes the end of the
/// wait.
pub(super) struct Waiting<M: Member> {
    replicated: Replicated<M>,
    group: GroupId,
    resource: String,
    request: Vec<u8>,
    /// By then the wait has ended by itself.
    until: Instant,
    draining: Begun,
    armed: bool,
}

impl<M: Member> Waiting<M> {
    pub(super) fn new(
        service: &Service<M>,
        group: GroupId,
        resource: String,
        request: Vec<u8>,
        timeout: Duration,
    ) -> Self {
        Self {
            replicated: service.replicated.clone(),
            group,
            resource,
            request,
            until: Instant::now() + timeout,
            draining: service.draining.subscribe(),
            armed: true,
        }
    }

    /// The answer to the acquisition. A member that drains ends the wait, which is then answered as ended.
    pub(super) async fn watch(
        mut self,
        asking: impl Future<Output = Result<answer::Kind, NotExecuted>>,
        keyed: bool,
    ) -> Result<answer::Kind, NotExecuted> {
        let mut asking = pin!(asking);
        let answer = tokio::select! {
            answer = &mut asking => answer,
            true = self.draining.wait() => {
                self.cancel();
                asking.await
            }
        };
        // Who asked under a key will ask again and is to find its place; anybody else has heard all it will hear.
        self.armed = matches!(&answer, Err(why) if why.is_unknown() && !keyed);
        answer
    }

    fn cancel(&self) {
        // None while the process ends: then all connections go, and the wait ends by its deadline.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (replicated, group, until) = (self.replicated.clone(), self.group, self.until);
        let cancel = lock::CancelWait { resource: self.resource.clone(), request: self.request.clone() };
        // Ends by itself with the wait, and there is at most one for each request.
        runtime.spawn(async move {
            while Instant::now() < until {
                let cancel = command::Kind::CancelWait(cancel.clone());
                if replicated.execute(group, cancel, None, TIMEOUT).await.is_ok() {
                    return;
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
        });
    }
}

impl<M: Member> Drop for Waiting<M> {
    fn drop(&mut self) {
        if self.armed {
            self.cancel();
        }
    }
}
