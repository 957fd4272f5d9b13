//! Grants: taken once everybody who answers has been asked, at that moment.

use quartet_client::galera::Bootstrap;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Event, Manager};
use crate::decide::{self, Leave, Own, Phase, Refused};

/// A group of those who are alive agrees in less.
const PROMOTED_WITHIN: Duration = Duration::from_secs(3);

/// What a command is answered.
pub type Answer = Result<(), NotDone>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("another grant is being looked at")]
    Busy,
    #[error("the server did not form a Primary component: {0}")]
    Server(String),
}

impl Manager {
    pub(super) fn asked_to_bootstrap(&mut self, grant: Bootstrap, reply: oneshot::Sender<Answer>) {
        tracing::info!(operation = %grant.operation, position = ?grant.position, grant.new_history, "granted a bootstrap");
        if grant.run == self.run && self.granted == Some(grant.operation) {
            let _ = reply.send(Ok(()));
            return;
        }
        if self.asking {
            let _ = reply.send(Err(NotDone::Busy));
            return;
        }
        if let Err(refused) = self.accepts(&grant) {
            let _ = reply.send(Err(refused.into()));
            return;
        }
        self.asking = true;
        let peers = self.peers.clone();
        self.report(async move {
            peers.ask_all().await;
            Event::Asked(grant, reply)
        });
    }

    pub(super) fn asked(&mut self, grant: &Bootstrap, reply: oneshot::Sender<Answer>) {
        if let Err(refused) = self.accepts(grant) {
            tracing::warn!(operation = %grant.operation, %refused, "the grant does not hold");
            self.asking = false;
            let _ = reply.send(Err(refused.into()));
            return;
        }
        if let Some(life) = self.state.life() {
            let (sql, run, operation) = (life.sql.clone(), grant.run, grant.operation);
            self.report(async move {
                let result = sql.promote().await.map_err(|error| super::chain(&error));
                let result = match result {
                    Ok(()) => sql.is_primary_within(PROMOTED_WITHIN).await,
                    failed => failed,
                };
                Event::Promoted(run, operation, result, reply)
            });
            return;
        }
        self.asking = false;
        self.granted = Some(grant.operation);
        self.grant_due = Some(Leave::of(grant));
        // Acted upon before anything else can be heard.
        let _ = reply.send(Ok(()));
    }

    pub(super) fn promoted(
        &mut self,
        run: Uuid,
        operation: Uuid,
        result: Result<(), String>,
        reply: oneshot::Sender<Answer>,
    ) {
        self.asking = false;
        if run != self.run {
            // Its server has ended meanwhile, and the grant with it: the next one was granted nothing yet.
            let _ = reply.send(Err(Refused::Run(self.run).into()));
            return;
        }
        self.granted = Some(operation);
        if result.is_err() {
            // It might take effect after somebody else was granted the same: the server must not live to see that.
            self.kill_server(Instant::now());
        }
        let _ = reply.send(result.map_err(NotDone::Server));
    }

    fn accepts(&self, grant: &Bootstrap) -> Result<(), Refused> {
        let own = Own { incarnation: self.identity.incarnation, run: self.run, granted: self.granted };
        let now = Instant::now();
        let phase = if self.stops_seen() > 0 { Phase::Busy } else { self.phase(now) };
        decide::accept(grant, own, phase, &self.peers.now())
    }
}
