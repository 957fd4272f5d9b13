//! Which connection a message takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quartet_raft::MemberId;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::dial::Link;
use crate::runtime::driver::Input;
use crate::store::Identity;
use crate::wire::PeerMessage;

const MESSAGES_MAX: usize = 1024;
const BULK_MAX: usize = 16;
/// How long a member that was removed keeps its connections.
const FAREWELL: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(in crate::runtime) struct Peers(Arc<Shared>);

struct Shared {
    inputs: mpsc::Sender<Input>,
    identity: watch::Receiver<Identity>,
    groups: u16,
    /// Made in the runtime's context, used by the driver's thread.
    runtime: Handle,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    dialled: BTreeMap<MemberId, Dialled>,
    /// Of these, members that were removed.
    leaving: BTreeSet<MemberId>,
    /// Connections that others dialled, by number: the newest of a member is used.
    back: BTreeMap<(MemberId, u64), Answering>,
    next_back: u64,
}

struct Answering {
    queue: mpsc::Sender<PeerMessage>,
    /// Nothing is answered over it.
    bulk: bool,
}

struct Dialled {
    address: watch::Sender<String>,
    messages: Outgoing,
    bulk: Outgoing,
}

struct Outgoing {
    queue: mpsc::Sender<PeerMessage>,
    connected: Arc<AtomicBool>,
}

/// Ends the use of a connection for answers when it is dropped.
pub(super) struct Back {
    peers: Peers,
    key: (MemberId, u64),
}

impl Peers {
    pub(in crate::runtime) fn new(
        inputs: mpsc::Sender<Input>,
        identity: watch::Receiver<Identity>,
        groups: u16,
    ) -> Self {
        let runtime = Handle::current();
        Self(Arc::new(Shared { inputs, identity, groups, runtime, table: Mutex::default() }))
    }

    /// Never waits. False: there is no connection or too much waits for it, and the message is gone.
    pub(in crate::runtime) fn send(&self, to: MemberId, message: PeerMessage) -> bool {
        let table = self.table();
        let dialled =
            table.dialled.get(&to).map(|to| if message.is_bulk() { &to.bulk } else { &to.messages });
        if let Some(outgoing) = dialled.filter(|outgoing| outgoing.is_connected()) {
            return outgoing.queue.try_send(message).is_ok();
        }
        !message.is_bulk() && table.back(to).is_some_and(|back| back.try_send(message).is_ok())
    }

    /// All members there are. One that is not named any more keeps its connections for a while: answers to what it
    /// asked before it was removed are still on their way.
    pub(in crate::runtime) fn set_addresses(&self, addresses: &[(MemberId, String)]) {
        let own = self.0.identity.borrow().id;
        let wanted: BTreeMap<MemberId, &String> =
            addresses.iter().filter(|(id, _)| *id != own).map(|(id, address)| (*id, address)).collect();
        let mut table = self.table();
        let gone: Vec<MemberId> =
            table.dialled.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in gone.into_iter().filter(|id| table.leaving.insert(*id)) {
            let shared = Arc::downgrade(&self.0);
            self.0.runtime.spawn(async move {
                tokio::time::sleep(FAREWELL).await;
                let Some(peers) = shared.upgrade().map(Peers) else { return };
                let mut table = peers.table();
                if table.leaving.remove(&id) {
                    table.dialled.remove(&id);
                }
            });
        }
        for (id, address) in wanted {
            table.leaving.remove(&id);
            if let Some(dialled) = table.dialled.get(&id) {
                dialled.address.send_if_modified(|current| {
                    let changes = current != address;
                    current.clone_from(address);
                    changes
                });
            } else {
                table.dialled.insert(id, self.dial(id, address));
            }
        }
    }

    pub(in crate::runtime) fn clear(&self) {
        let mut table = self.table();
        table.dialled.clear();
        table.leaving.clear();
        table.back.clear();
    }

    pub(in crate::runtime) fn connected(&self) -> BTreeSet<MemberId> {
        let table = self.table();
        let dialled = table.dialled.iter().filter(|(_, to)| to.messages.is_connected()).map(|(id, _)| *id);
        let back = table.back.iter().filter(|(_, answering)| !answering.bulk).map(|((id, _), _)| *id);
        dialled.chain(back).collect()
    }

    /// A connection that `peer` dialled, and what is to be sent over it. It ends when the queue does.
    pub(super) fn answer_over(&self, peer: MemberId, bulk: bool) -> (Back, mpsc::Receiver<PeerMessage>) {
        let (queue, messages) = mpsc::channel(MESSAGES_MAX);
        let mut table = self.table();
        table.next_back += 1;
        let key = (peer, table.next_back);
        table.back.insert(key, Answering { queue, bulk });
        (Back { peers: self.clone(), key }, messages)
    }

    fn dial(&self, peer: MemberId, address: &str) -> Dialled {
        let (sender, address) = watch::channel(address.to_owned());
        Dialled {
            messages: self.link(peer, &address, false, MESSAGES_MAX),
            bulk: self.link(peer, &address, true, BULK_MAX),
            address: sender,
        }
    }

    fn link(&self, peer: MemberId, address: &watch::Receiver<String>, bulk: bool, queue: usize) -> Outgoing {
        let (queue, messages) = mpsc::channel(queue);
        let connected = Arc::new(AtomicBool::new(false));
        let link = Link {
            peer,
            bulk,
            groups: self.0.groups,
            address: address.clone(),
            identity: self.0.identity.clone(),
            messages,
            inputs: self.0.inputs.clone(),
            connected: Arc::clone(&connected),
        };
        // Ends by itself when the queue is dropped.
        self.0.runtime.spawn(link.run());
        Outgoing { queue, connected }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn back(&self, to: MemberId) -> Option<&mpsc::Sender<PeerMessage>> {
        let mut newest_first = self.back.range((to, 0)..=(to, u64::MAX)).rev();
        newest_first.find(|(_, answering)| !answering.bulk).map(|(_, answering)| &answering.queue)
    }
}

impl Outgoing {
    fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }
}

impl Drop for Back {
    fn drop(&mut self) {
        self.peers.table().back.remove(&self.key);
    }
}
