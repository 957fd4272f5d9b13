//! Whether this member leaves its clients' Service: told so by the operator, for a while each time, or for good as it
//! stops.

use std::time::{Duration, Instant};

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    Off,
    Until(Instant),
    ForGood,
}

impl Drain {
    fn is_on(self) -> bool {
        match self {
            Self::Off => false,
            Self::Until(end) => Instant::now() < end,
            Self::ForGood => true,
        }
    }
}

#[derive(Debug)]
pub(super) struct Draining(watch::Sender<Drain>);

impl Default for Draining {
    fn default() -> Self {
        Self(watch::Sender::new(Drain::Off))
    }
}

impl Draining {
    pub(super) fn is_on(&self) -> bool {
        self.0.borrow().is_on()
    }

    pub(super) fn for_good(&self) {
        self.0.send_replace(Drain::ForGood);
    }

    pub(super) fn for_now(&self, duration: Duration) {
        self.0.send_if_modified(|drain| {
            let lapses = *drain != Drain::ForGood;
            if lapses {
                *drain = Drain::Until(Instant::now() + duration);
            }
            lapses
        });
    }

    pub(super) fn subscribe(&self) -> Begun {
        Begun(self.0.subscribe())
    }
}

/// For those who wait until it begins.
pub(super) struct Begun(watch::Receiver<Drain>);

impl Begun {
    /// False: it never will.
    pub(super) async fn wait(&mut self) -> bool {
        self.0.wait_for(|drain| drain.is_on()).await.is_ok()
    }
}
