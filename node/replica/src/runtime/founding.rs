//! A cluster without an operator founds itself, once: the listed member with the lowest ordinal asks all others,
//! and only when every one of them answers that it is empty tells them whom the cluster consists of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use quartet_raft::MemberId;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::driver::Input;
use super::transport::{Incoming, Trouble, ask, found, put};
use crate::disk::RealDisk;
use crate::engine::MemberCommand;
use crate::store::{FoundingPlan, Identity, StoreError, read_founding, remove_founding, write_founding};
use crate::wire::Frame;

const AGAIN_AFTER: Duration = Duration::from_millis(200);

pub(super) struct Founding {
    pub(super) ordinal: u16,
    pub(super) peers: BTreeMap<u16, String>,
    pub(super) groups: u16,
    pub(super) data: PathBuf,
    pub(super) identity: watch::Receiver<Identity>,
    pub(super) inputs: mpsc::Sender<Input>,
}

#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error("member {ordinal} at {address}: {trouble}")]
    Unreachable { ordinal: u16, address: String, trouble: Trouble },
    #[error("at the address of member {ordinal}, {address}, member {found} answers")]
    Misplaced { ordinal: u16, address: String, found: MemberId },
    #[error("member {id} would found {theirs} partitions, this one {ours}")]
    OtherGroups { id: MemberId, theirs: u16, ours: u16 },
    #[error("member {id} refuses: {why}")]
    Refused { id: MemberId, why: String },
    #[error("this member's disk is damaged")]
    Damaged,
    #[error("the plan cannot be kept: {0}")]
    Disk(#[from] StoreError),
    #[error("the data directory cannot be opened: {0}")]
    Data(#[from] std::io::Error),
}

enum Outcome {
    Founded,
    /// There is a cluster already. This member waits to be added to it.
    Never(String),
}

struct Answer {
    id: MemberId,
    cluster: Option<u128>,
    address: String,
    connection: Option<(Incoming, OwnedWriteHalf)>,
}

impl Founding {
    pub(super) async fn run(self) {
        if self.peers.keys().next() != Some(&self.ordinal) {
            return;
        }
        let mut said = String::new();
        while self.identity.borrow().cluster.is_none() {
            match self.attempt().await {
                Ok(Outcome::Founded) => return,
                Ok(Outcome::Never(why)) => {
                    tracing::warn!("no cluster is founded: {why}; this member waits to be added");
                    return;
                }
                Err(not_yet) => {
                    let why = not_yet.to_string();
                    if why != said {
                        tracing::info!("founding waits: {why}");
                        said = why;
                    }
                }
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    async fn attempt(&self) -> Result<Outcome, NotYet> {
        if self.identity.borrow().is_unknown() {
            return Err(NotYet::Damaged);
        }
        let mut answers = Vec::new();
        for (ordinal, address) in &self.peers {
            answers.push(self.ask(*ordinal, address).await?);
        }
        let members: Vec<(MemberId, String)> =
            answers.iter().map(|answer| (answer.id, answer.address.clone())).collect();
        let plan = match self.plan(&answers, members)? {
            Ok(plan) => plan,
            Err(why) => return Ok(Outcome::Never(why)),
        };
        for answer in &mut answers {
            if answer.cluster.is_none()
                && let Some((incoming, out)) = &mut answer.connection
            {
                tell(answer.id, &answer.address, incoming, out, &plan).await?;
            }
        }
        let own = self.identity.borrow().id;
        let command = MemberCommand::Found { cluster: plan.cluster, members: plan.members };
        found(&self.inputs, command).await.map_err(|why| NotYet::Refused { id: own, why })?;
        remove_founding(&RealDisk::open(&self.data)?)?;
        tracing::info!("founded a cluster of {} members", self.peers.len());
        Ok(Outcome::Founded)
    }

    async fn ask(&self, ordinal: u16, address: &str) -> Result<Answer, NotYet> {
        let own = self.identity.borrow().clone();
        let address = address.to_owned();
        if ordinal == self.ordinal {
            return Ok(Answer { id: own.id, cluster: own.cluster, address, connection: None });
        }
        let (hello, incoming, out) = match ask(&address, &own, self.groups).await {
            Ok(answer) => answer,
            Err(trouble) => return Err(NotYet::Unreachable { ordinal, address, trouble }),
        };
        let id = hello.from;
        if id.ordinal != ordinal {
            return Err(NotYet::Misplaced { ordinal, address, found: id });
        }
        if hello.groups != self.groups {
            return Err(NotYet::OtherGroups { id, theirs: hello.groups, ours: self.groups });
        }
        Ok(Answer { id, cluster: hello.cluster, address, connection: Some((incoming, out)) })
    }

    /// The plan of before, if it still holds; a new one only while nobody belongs to anything. Inner error: never.
    fn plan(
        &self,
        answers: &[Answer],
        members: Vec<(MemberId, String)>,
    ) -> Result<Result<FoundingPlan, String>, NotYet> {
        let disk = RealDisk::open(&self.data)?;
        let kept = read_founding(&disk)?;
        let settled = answers.iter().find(|answer| answer.cluster.is_some());
        if let Some(plan) = kept.filter(|plan| plan.members == members) {
            let foreign = answers.iter().find(|answer| answer.cluster.is_some_and(|at| at != plan.cluster));
            return Ok(match foreign {
                Some(answer) => Err(format!("member {} belongs to another cluster", answer.id)),
                None => Ok(plan),
            });
        }
        if let Some(answer) = settled {
            return Ok(Err(format!("member {} belongs to a cluster", answer.id)));
        }
        let plan = FoundingPlan { cluster: uuid::Uuid::new_v4().as_u128(), members };
        // Before anybody hears of it: after a crash this member must go on with the same cluster.
        write_founding(&disk, &plan)?;
        Ok(Ok(plan))
    }
}

async fn tell(
    id: MemberId,
    address: &str,
    incoming: &mut Incoming,
    out: &mut OwnedWriteHalf,
    plan: &FoundingPlan,
) -> Result<(), NotYet> {
    let unreachable =
        |trouble| NotYet::Unreachable { ordinal: id.ordinal, address: address.to_owned(), trouble };
    let frame = Frame::Found { cluster: plan.cluster, members: plan.members.clone() };
    put(out, &frame).await.map_err(unreachable)?;
    match incoming.frame().await.map_err(unreachable)? {
        Frame::Founded { refusal: None } => Ok(()),
        Frame::Founded { refusal: Some(why) } => Err(NotYet::Refused { id, why }),
        _ => Err(unreachable(Trouble::OutOfPlace)),
    }
}
