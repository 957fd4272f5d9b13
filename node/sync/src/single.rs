//! One member in memory, for tests: commands are applied as they come, time passes when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quartet_raft::{Configuration, Index, LogTime, MemberId, Position, Role, Term};
use quartet_replica::engine::{CommandResult, GroupReport, MemberCommand, Report};
use quartet_replica::runtime::Counted;
use quartet_replica::wire::{Failure, Key};
use quartet_replica::{Answer, At, GroupId, Settled, StateMachine};
use tokio::sync::oneshot;

use crate::{Gauges, Member, Partition};

pub(crate) const ID: MemberId = MemberId { ordinal: 0, incarnation: 7 };

#[derive(Clone)]
pub(crate) struct Single(Arc<Mutex<State>>);

struct State {
    partitions: Vec<Partition>,
    index: u64,
    now: u64,
    waiting: BTreeMap<(u16, u64), Asked>,
    keys: BTreeMap<(u16, String), Remembered>,
    failing: Option<Failure>,
    short_of_space: bool,
    commands: Vec<MemberCommand>,
    cluster: Option<u128>,
}

/// Who waits for the answer to a command.
type Asked = (Option<Key>, Vec<oneshot::Sender<Answer>>);

struct Remembered {
    digest: [u8; 16],
    ticket: u64,
    answer: Option<Bytes>,
}

impl Single {
    pub(crate) fn new(gauges: &[Arc<Gauges>]) -> Self {
        Self(Arc::new(Mutex::new(State {
            partitions: gauges.iter().cloned().map(Partition::watched).collect(),
            index: 0,
            now: 0,
            waiting: BTreeMap::new(),
            keys: BTreeMap::new(),
            failing: None,
            short_of_space: false,
            commands: Vec::new(),
            cluster: Some(9),
        })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every request fails so, until it is told otherwise.
    pub(crate) fn fail(&self, failure: Option<Failure>) {
        self.with(|state| state.failing = failure);
    }

    /// Its disk is almost full.
    pub(crate) fn fill_disk(&self) {
        self.with(|state| state.short_of_space = true);
    }

    /// As if its volume were new.
    pub(crate) fn empty(&self) {
        self.with(|state| state.cluster = None);
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.with(|state| {
            state.now += ms;
            for group in 0..state.partitions.len() {
                state.step(u16::try_from(group).unwrap(), None);
            }
        });
    }

    /// Requests that wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.with(|state| state.waiting.len())
    }

    pub(crate) fn commands(&self) -> Vec<MemberCommand> {
        self.with(|state| state.commands.clone())
    }
}

impl State {
    fn step(&mut self, group: u16, command: Option<&[u8]>) {
        let at = At { index: Index(self.index), time: LogTime(self.now) };
        let mut settled = Settled::default();
        let partition = &mut self.partitions[usize::from(group)];
        partition.advance(at, &mut settled);
        if let Some(command) = command {
            partition.apply(at, command, &mut settled);
        }
        for (Index(ticket), answer) in settled.0 {
            let Some((key, askers)) = self.waiting.remove(&(group, ticket)) else { continue };
            if let Some(key) = key {
                let place = (group, key.name);
                if answer.decided {
                    self.keys.get_mut(&place).unwrap().answer = Some(answer.body.clone());
                } else {
                    self.keys.remove(&place);
                }
            }
            for asker in askers {
                let _ = asker.send(answer.clone());
            }
        }
    }

    fn begin(
        &mut self,
        GroupId(group): GroupId,
        command: &[u8],
        key: Option<Key>,
    ) -> Result<oneshot::Receiver<Answer>, Failure> {
        if let Some(failure) = self.failing {
            return Err(failure);
        }
        if self.short_of_space && self.partitions[usize::from(group)].may_grow(command) {
            return Err(Failure::NoSpace);
        }
        let (tell, told) = oneshot::channel();
        if let Some(key) = &key
            && let Some(remembered) = self.keys.get(&(group, key.name.clone()))
        {
            if remembered.digest != key.digest {
                return Err(Failure::KeyReused);
            }
            match &remembered.answer {
                Some(body) => {
                    let _ = tell.send(Answer { body: body.clone(), decided: true });
                }
                None => self.waiting.get_mut(&(group, remembered.ticket)).unwrap().1.push(tell),
            }
            return Ok(told);
        }
        self.index += 1;
        if let Some(key) = &key {
            let remembered = Remembered { digest: key.digest, ticket: self.index, answer: None };
            self.keys.insert((group, key.name.clone()), remembered);
        }
        self.waiting.insert((group, self.index), (key, vec![tell]));
        self.step(group, Some(command));
        Ok(told)
    }
}

impl Member for Single {
    async fn execute(
        &self,
        group: GroupId,
        command: Bytes,
        key: Option<Key>,
        _timeout: Duration,
    ) -> Result<Bytes, Failure> {
        let told = self.with(|state| state.begin(group, &command, key))?;
        told.await.map(|answer| answer.body).map_err(|_| Failure::Unknown)
    }

    async fn query(&self, group: GroupId, query: Bytes, _timeout: Duration) -> Result<Bytes, Failure> {
        self.with(|state| match state.failing {
            Some(failure) => Err(failure),
            None => Ok(state.partitions[usize::from(group.0)].query(&query)),
        })
    }

    fn groups(&self) -> Option<u16> {
        self.with(|state| state.cluster.map(|_| u16::try_from(state.partitions.len()).unwrap()))
    }

    async fn report(&self) -> Report {
        self.with(|state| Report {
            id: ID,
            cluster: state.cluster,
            damage: None,
            trouble: None,
            short_of_space: false,
            groups: (0..state.partitions.len()).map(|group| group_report(group, state.index)).collect(),
        })
    }

    async fn command(&self, command: MemberCommand) -> CommandResult {
        self.with(|state| {
            state.commands.push(command.clone());
            match command {
                MemberCommand::Change { groups, .. } => Ok(groups
                    .into_iter()
                    .map(|change| (change.group, Err("a change is under way".to_owned())))
                    .collect()),
                MemberCommand::Found { .. } => Err("it already belongs to a cluster".into()),
                MemberCommand::Handover { cluster, .. } if Some(cluster) != state.cluster => {
                    Err("this member belongs to another cluster".into())
                }
                MemberCommand::Handover { .. } => Ok(Vec::new()),
            }
        })
    }

    async fn reset(&self, incarnation: u128) -> Result<(), String> {
        if incarnation == ID.incarnation { Ok(()) } else { Err("another incarnation".into()) }
    }

    fn counted(&self) -> Counted {
        Counted { appends: 11, ..Counted::default() }
    }

    fn connected(&self) -> BTreeSet<MemberId> {
        BTreeSet::new()
    }

    fn disk_bytes(&self) -> io::Result<(u64, u64)> {
        Ok((1000, 4000))
    }
}

fn group_report(group: usize, index: u64) -> GroupReport {
    let position = Position { term: Term(3), index: Index(index) };
    GroupReport {
        group: GroupId(u16::try_from(group).unwrap()),
        role: Role::Leader,
        term: Term(3),
        leader: Some(ID),
        last: position,
        committed: position.index,
        applied: position.index,
        time: LogTime(0),
        configuration: Configuration {
            voters: [ID].into(),
            addresses: [(ID, "localhost:1".to_owned())].into(),
            ..Configuration::default()
        },
        configuration_index: Index(1),
        configuration_committed: true,
        progress: Vec::new(),
    }
}
