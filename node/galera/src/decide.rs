//! What the manager does next. Pure: what is known comes in, one step comes out.
//!
//! The rules that keep data:
//! - A Primary component is formed by a grant and by nothing else, and never while another member tells of one.
//! - A server joins only a Primary component that is seen, and never one of another history than its own data.
//! - A peer is evicted only when its server is proven to be dead; silence proves nothing, and a refusal only to those
//!   who see a majority.
//! - Whoever has lost the majority goes on without the dead only when all others have said that no server of theirs
//!   runs and that they hold no more; where one holds more, it ends, so that the one can be begun from.

use std::net::IpAddr;
use std::time::Duration;

use quartet_client::galera::{BegunFrom, Bootstrap, MemberState, PeerReport, Position};
use uuid::Uuid;

/// A Primary component is seen elsewhere for so long without taking this server in: merging needs less.
pub const UNMERGED_MAX: Duration = Duration::from_secs(10);
/// An eviction has done its work in a fraction of that, also one that another member told. Left in force, whoever was evicted is waited for in every later
/// change of the group, which then takes seconds in which nobody can write (measured).
pub const EVICTED_MAX: Duration = Duration::from_millis(400);
/// The others of a server without a Primary component hold more than it for so long: it is of no more use.
pub const BEHIND_MAX: Duration = Duration::from_secs(1);
/// A server that is to join waits for ever for a Primary component that has gone: so long where all members say that
/// there is none, and so long where some of them are silent.
pub const ALONE_MAX: Duration = Duration::from_secs(3);
pub const ALONE_IN_SILENCE_MAX: Duration = Duration::from_secs(15);
/// So long while its data keeps arriving: a survivor that is being promoted meanwhile is not to cost a whole transfer.
pub const ALONE_IN_TRANSFER_MAX: Duration = Duration::from_mins(1);
/// A server that lost its provider (voted out, evicted) does not come back to it.
pub const DISCONNECTED_MAX: Duration = Duration::from_secs(2);

/// What is known at one moment.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each looked at by itself")]
pub struct View<'a> {
    pub ordinal: u16,
    pub address: IpAddr,
    pub phase: Phase,
    pub peers: &'a [Peer],
    /// A grant that was accepted, and not acted upon yet.
    pub granted: Option<Leave>,
    /// Told to stop, and clients have been moved.
    pub stopping: bool,
    /// The pause after a start that failed is over.
    pub may_start: bool,
    /// Databases or users are not known to be as the settings say.
    pub schema_due: bool,
    /// Addresses of those whom the group counts as its members, this one included.
    pub group: &'a [IpAddr],
    /// The same, complete and told twice, of the Primary component that the server is part of: nothing that was read in
    /// the middle of a change.
    pub primary_group: Option<&'a [IpAddr]>,
    /// What the cluster's history was begun from by a human's word.
    pub begun_from: Option<BegunFrom>,
    /// That was while this member did not answer, and the operator has not heard of it since.
    pub stepped_over: bool,
    /// All that the running server has received is on its disk: so far it has come.
    pub position: Option<Position>,
    /// Of a server that was started to join and has not been part of a Primary component yet: nobody has told of one for
    /// so long.
    pub alone_for: Option<Duration>,
    /// What is transferred to it has grown lately.
    pub transfer_moves: bool,
    /// Evictions are in force, and have done their work, so long ago.
    pub evicted_for: Option<Duration>,
}

/// What was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The history goes on.
    GoOn,
    /// This one begins, with what the other has come to.
    Begin(Uuid),
}

impl Leave {
    pub fn of(grant: &Bootstrap) -> Self {
        if grant.new_history { Self::Begin(grant.operation) } else { Self::GoOn }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What the volume holds is not known: at first, and whenever a server has ended.
    Unexamined,
    /// The storage engine has said for long enough that its data is corrupt. What is known of how far it had come.
    Unreadable(Option<Position>),
    /// A step is under way that ends by itself.
    Busy,
    Empty,
    Stopped(Position),
    /// The data counts for nothing. So far has it come, where a human's word may make it count.
    Unusable(Option<Position>),
    Running(Link),
}

/// What the server says of itself, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It does not answer yet.
    Starting,
    Primary {
        synced: bool,
    },
    NonPrimary {
        /// None while it still applies what it has received.
        position: Option<Position>,
        for_at_least: Duration,
    },
    Disconnected {
        for_at_least: Duration,
    },
}

/// Another member, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peer {
    pub ordinal: u16,
    pub address: Option<IpAddr>,
    /// None when it has not answered lately.
    pub report: Option<PeerReport>,
    /// Of servers that are dead and may still be waited for.
    pub dead: Vec<Dead>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dead {
    pub node: Uuid,
    pub proof: Proof,
    /// Where it was.
    pub address: Option<IpAddr>,
}

/// How it is known that a server is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its manager says so, or another run of its manager does.
    Word,
    /// Its address refuses connections. So does a firewall that rejects.
    Refusal,
}

impl Peer {
    fn primary(&self) -> Option<&PeerReport> {
        self.report.as_ref().filter(|report| report.primary)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Wait(Waiting),
    Examine,
    /// Makes the first database and forms the Primary component with it.
    Found,
    Bootstrap(Position),
    /// Forms the Primary component of a new history, which goes on from this position of the old one.
    Begin {
        history: Uuid,
        from: Position,
    },
    Join(Join),
    /// The running server forms the Primary component.
    Promote,
    Evict(Uuid),
    /// Takes all evictions back.
    Unevict,
    Restart(Restart),
    ApplySchema,
    Stop,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    pub addresses: Vec<IpAddr>,
    /// Ordinals of those who may give their data, the preferred one first.
    pub donors: Vec<u16>,
    /// None: everything has to be transferred.
    pub from: Option<Position>,
    /// Name of the group that they are, where they tell it.
    pub group: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// There is nothing to do.
    Nothing,
    /// Nobody tells of a Primary component: somebody has to be granted one.
    Grant,
    /// The data came from elsewhere than the Primary component's.
    Foreign(Uuid),
    /// The Primary component's history was begun from the data's own one, and the data goes on beyond that.
    Beyond(BegunFrom),
    /// The Primary component's history was begun by a human's word that this member has not been told of yet.
    Unnamed(Uuid),
    /// It was begun without this member, as nobody knew what it was at. The operator goes by that until it hears of it.
    SteppedOver,
    /// The pause after a start that failed.
    Pause,
    /// Somebody is Primary, but nobody can give data.
    Donor,
    /// The others still take this member's last server for alive.
    Noticed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// A Primary component elsewhere does not take this server in.
    Unmerged,
    /// It was voted out or evicted.
    Disconnected,
    /// Those whom it was to join have gone before it had.
    Alone,
    /// It is left without a majority, and another member's data holds what it lacks.
    Behind,
}

pub fn decide(view: &View) -> Action {
    match view.phase {
        Phase::Busy => Action::Wait(Waiting::Nothing),
        _ if view.stopping => Action::Stop,
        // Those who are Primary hold everything: what cannot be read is replaced by it.
        Phase::Unreadable(known) if view.peers.iter().any(|peer| peer.primary().is_some()) => {
            if is_somebodys(view, known).is_none() { start(view, None) } else { examine(view) }
        }
        Phase::Unexamined | Phase::Unreadable(_) => examine(view),
        Phase::Empty => start(view, None),
        Phase::Unusable(known) => is_somebodys(view, known).map_or_else(|| start(view, None), Action::Wait),
        Phase::Stopped(position) => start(view, Some(position)),
        Phase::Running(link) => run(view, link),
    }
}

fn examine(view: &View) -> Action {
    if view.may_start { Action::Examine } else { Action::Wait(Waiting::Pause) }
}

fn start(view: &View, from: Option<Position>) -> Action {
    if !view.peers.iter().any(|peer| peer.primary().is_some()) {
        return match (view.phase, view.granted) {
            (Phase::Empty, Some(Leave::GoOn)) => Action::Found,
            (Phase::Stopped(position), Some(Leave::GoOn)) => Action::Bootstrap(position),
            (Phase::Stopped(from) | Phase::Unusable(Some(from)), Some(Leave::Begin(history))) => {
                Action::Begin { history, from }
            }
            _ => Action::Wait(Waiting::Grant),
        };
    }
    let primaries: Vec<(&Peer, &PeerReport)> = joinable(view).collect();
    let elsewhere: Vec<Position> = primaries.iter().filter_map(|(_, report)| report.position).collect();
    let from = match from.map(|own| belongs(view, own, &elsewhere)) {
        None => None,
        Some(Ok(from)) => from,
        Some(Err(foreign)) => return Action::Wait(foreign),
    };
    if view.stepped_over {
        return Action::Wait(Waiting::SteppedOver);
    }
    if let Some(history) = unnamed(view, &primaries) {
        return Action::Wait(Waiting::Unnamed(history));
    }
    // They may have lost their majority with it, and are told so only by who waits.
    if primaries.iter().any(|(_, report)| report.members.iter().any(|counted| is_of_the_dead(view, counted)))
    {
        return Action::Wait(Waiting::Noticed);
    }
    let addresses: Vec<IpAddr> = primaries.iter().filter_map(|(peer, _)| peer.address).collect();
    if addresses.is_empty() {
        return Action::Wait(Waiting::Donor);
    }
    if !view.may_start {
        return Action::Wait(Waiting::Pause);
    }
    let group = primaries.iter().find_map(|(_, report)| report.group_name.clone());
    Action::Join(Join { addresses, donors: donors(&primaries), from, group })
}

/// An address at which a group counts a server that is dead: this member's own, whose end has not been noticed yet, or
/// nobody's any more. It may have been this member's before its pod was made anew.
fn is_of_the_dead(view: &View, counted: &IpAddr) -> bool {
    *counted == view.address || !view.peers.iter().any(|peer| peer.address == Some(*counted))
}

/// A history that a human's word began, and that is not what the settings of this member name: they may be older, and the
/// newer ones say that it was begun without this member. What somebody in it says of another history is old itself.
fn unnamed(view: &View, primaries: &[(&Peer, &PeerReport)]) -> Option<Uuid> {
    let named = view.begun_from.map(|begun| begun.history);
    let begun = |report: &PeerReport| {
        report.begun.filter(|history| report.position.is_some_and(|at| at.cluster == *history))
    };
    primaries.iter().filter_map(|&(_, report)| begun(report)).find(|history| Some(*history) != named)
}

/// Those of a Primary component who say what they hold. Whoever does not is joining itself, or its server has not answered
/// for a while: of which history it is part is not known.
fn joinable<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a Peer, &'a PeerReport)> {
    let primaries = view.peers.iter().filter_map(|peer| Some((peer, peer.primary()?)));
    primaries.filter(|(_, report)| report.position.is_some())
}

/// How much of this data is worth something to those elsewhere: what it has come to, or nothing where all of it went into
/// another history. Data that is somebody's is not overwritten: then what is to be waited for.
fn belongs(view: &View, own: Position, elsewhere: &[Position]) -> Result<Option<Position>, Waiting> {
    let Some(other) = elsewhere.iter().find(|theirs| theirs.cluster != own.cluster) else {
        return Ok(Some(own));
    };
    let history = other.cluster;
    let one = elsewhere.iter().all(|theirs| theirs.cluster == history);
    match view.begun_from {
        Some(begun) if one && begun.history == history && begun.position.cluster == own.cluster => {
            if own.seqno <= begun.position.seqno { Ok(None) } else { Err(Waiting::Beyond(begun)) }
        }
        _ => Err(Waiting::Foreign(history)),
    }
}

/// Only a human overwrites another history, be it readable or not, and whatever it is worth.
fn is_somebodys(view: &View, known: Option<Position>) -> Option<Waiting> {
    let elsewhere: Vec<Position> = joinable(view).filter_map(|(_, report)| report.position).collect();
    belongs(view, known?, &elsewhere).err()
}

/// The lowest ordinal takes the writes of those who want a single writer: it gives its data last. One that gives
/// data already comes after those that do not.
fn donors(primaries: &[(&Peer, &PeerReport)]) -> Vec<u16> {
    let mut able: Vec<(bool, u16)> = primaries
        .iter()
        .filter(|(_, report)| matches!(report.state, MemberState::Synced | MemberState::Donor))
        .map(|(peer, report)| (report.state == MemberState::Synced, peer.ordinal))
        .collect();
    able.sort_unstable();
    able.into_iter().rev().map(|(_, ordinal)| ordinal).collect()
}

fn run(view: &View, link: Link) -> Action {
    let elsewhere = view.peers.iter().any(|peer| peer.primary().is_some());
    let could_join = joinable(view).next().is_some();
    if is_left_alone(view, link) {
        return Action::Restart(Restart::Alone);
    }
    if link != Link::Starting {
        let (majority, others) = (matches!(link, Link::Primary { .. }) && sees_majority(view), others(view));
        if let Some(node) = evictable(view, majority, others) {
            return Action::Evict(node);
        }
        if view.evicted_for.is_some_and(|since| since >= EVICTED_MAX) {
            return Action::Unevict;
        }
        if others == Others::Ahead && !majority && matches!(link, Link::Primary { .. }) {
            return Action::Restart(Restart::Behind);
        }
    }
    match link {
        Link::Disconnected { for_at_least } if for_at_least >= DISCONNECTED_MAX => {
            Action::Restart(Restart::Disconnected)
        }
        Link::NonPrimary { for_at_least, .. } if could_join && for_at_least >= UNMERGED_MAX => {
            Action::Restart(Restart::Unmerged)
        }
        Link::NonPrimary { .. } if view.granted == Some(Leave::GoOn) && !elsewhere => Action::Promote,
        Link::NonPrimary { position: Some(own), for_at_least }
            if !elsewhere && for_at_least >= BEHIND_MAX && somebody_is_ahead(view, own) =>
        {
            Action::Restart(Restart::Behind)
        }
        Link::NonPrimary { .. } if !elsewhere => Action::Wait(Waiting::Grant),
        Link::Primary { synced: true } if view.schema_due && is_first(view) => Action::ApplySchema,
        _ => Action::Wait(Waiting::Nothing),
    }
}

fn is_left_alone(view: &View, link: Link) -> bool {
    let all_answer = view.peers.iter().all(|peer| peer.report.is_some());
    let limit = if view.transfer_moves {
        ALONE_IN_TRANSFER_MAX
    } else if all_answer {
        ALONE_MAX
    } else {
        ALONE_IN_SILENCE_MAX
    };
    matches!(link, Link::Starting | Link::NonPrimary { .. })
        && view.alone_for.is_some_and(|alone| alone >= limit)
}

/// Those who evict the dead go on with the majority that they are part of. Galera also forms a Primary component anew,
/// by itself, once all who are missing from the last one are evicted: with the last of the dead, the others' leave is
/// given to whoever is left. Hence a minority evicts nobody before it knows of everybody, and nobody whose address only
/// refuses: those may live on behind a firewall.
fn evictable(view: &View, majority: bool, others: Others) -> Option<Uuid> {
    let mut dead = view.peers.iter().flat_map(|peer| &peer.dead);
    let alone = others == Others::Behind;
    dead.find(|dead| majority || (alone && dead.proof == Proof::Word)).map(|dead| dead.node)
}

/// Of those whom the Primary component counts, more than half have a server that runs.
fn sees_majority(view: &View) -> bool {
    let Some(group) = view.primary_group.filter(|group| group.contains(&view.address)) else { return false };
    let lives = |peer: &&Peer| {
        peer.report.as_ref().is_some_and(|report| report.server_runs)
            && peer.address.is_some_and(|address| group.contains(&address))
    };
    (1 + view.peers.iter().filter(lives).count()) * 2 > group.len()
}

fn is_counted(view: &View, peer: &Peer) -> bool {
    peer.address.is_some_and(|address| view.group.contains(&address))
}

/// Nobody knows where it is or what it holds, and it does not matter: the Primary component that this server is part of
/// does without it.
///
/// Why that is safe. A Primary component after this one is formed by a majority of this one, hence with one of its
/// members; by whoever is left of this one, once all others of it are evicted; or by the operator's leave, for which
/// every member that may hold data has to answer, this one included, and none may be Primary. A silent peer that is not
/// part of this one has no share in any of that but through a member of this one, and those are asked: each has said
/// that its server is stopped and holds no more than this one, or it is still together with this one. What the silent
/// one may have received of a later component would have come through one of them, which then holds more: at least that
/// component's own beginning is a write set. Galera checks the same once more by its own list, which is never older than
/// what is known here: it goes on alone only when every one of its last Primary component is evicted. Hence nobody is
/// skipped
/// - whose server is known to be dead and may still be waited for: it may be on that list;
/// - unless every address of the component is this member's or a known peer's: otherwise the silent one may be there
///   under an address that nobody knows yet;
/// - outside of a Primary component: what is counted there is not what was Primary last;
/// - while what is counted may have been read in the middle of a change ([`View::primary_group`]).
fn is_done_without(view: &View, peer: &Peer) -> bool {
    let Some(group) = view.primary_group else { return false };
    let is_known = |address: &IpAddr| {
        *address == view.address || view.peers.iter().any(|peer| peer.address == Some(*address))
    };
    peer.report.is_none()
        && peer.dead.is_empty()
        && group.contains(&view.address)
        && group.iter().all(is_known)
        && !peer.address.is_some_and(|address| group.contains(&address))
}

/// What all those hold who are not in the group with this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// A server of theirs may run, or nobody knows what their volumes hold.
    Unknown,
    /// No server of theirs runs, and none holds more.
    Behind,
    /// No server of theirs runs, and one holds more.
    Ahead,
}

fn others(view: &View) -> Others {
    let Some(own) = view.position else { return Others::Unknown };
    let mut others = Others::Behind;
    for peer in view.peers {
        match &peer.report {
            Some(report) if report.server_runs && is_counted(view, peer) => {}
            Some(report) => match stopped_at(report).filter(|theirs| theirs.cluster == own.cluster) {
                Some(theirs) if theirs.seqno > own.seqno => others = Others::Ahead,
                Some(_) => {}
                None => return Others::Unknown,
            },
            None if is_done_without(view, peer) => {}
            None => return Others::Unknown,
        }
    }
    others
}

/// Where no server runs, and the data is known to be sound: how far it has come.
fn stopped_at(report: &PeerReport) -> Option<Position> {
    report.position.filter(|_| report.state == MemberState::Waiting && !report.server_runs)
}

fn somebody_is_ahead(view: &View, own: Position) -> bool {
    let mut stopped = view.peers.iter().filter_map(|peer| stopped_at(peer.report.as_ref()?));
    stopped.any(|theirs| theirs.cluster == own.cluster && theirs.seqno > own.seqno)
}

/// Of the Synced members that it sees, the one with the lowest ordinal applies the schema. Two may think so at once
/// for a moment: applying is safe to do twice.
pub fn is_first(view: &View) -> bool {
    let synced = |peer: &&Peer| peer.report.as_ref().is_some_and(|r| r.state == MemberState::Synced);
    view.peers.iter().filter(synced).all(|peer| peer.ordinal > view.ordinal)
}

/// Why a grant is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the volume's incarnation is {0}")]
    Incarnation(Uuid),
    #[error("the run is {0}")]
    Run(Uuid),
    #[error("its position is {}", .0.map_or_else(|| "not known".to_owned(), |position| position.to_string()))]
    Position(Option<Position>),
    #[error("it holds data; founding needs an empty volume")]
    HoldsData,
    #[error("this member cannot form a Primary component now")]
    State,
    #[error("a new history is begun only from whole data that no server runs with")]
    NewHistory,
    #[error("member {0} is part of a Primary component")]
    PrimaryVisible(u16),
    /// It might go on by itself meanwhile.
    #[error("the server of member {0} runs: no other is begun beside it")]
    ServerRuns(u16),
    #[error("operation {0} was granted to this run already")]
    Granted(Uuid),
}

/// Who a grant has to name.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    pub incarnation: Uuid,
    pub run: Uuid,
    /// The operation that was granted to this run before, and may still take effect.
    pub granted: Option<Uuid>,
}

/// Whether a grant holds at this moment. Asked twice: when it comes, and again with what all peers say right before
/// it is acted upon.
pub fn accept(grant: &Bootstrap, own: Own, phase: Phase, peers: &[Peer]) -> Result<(), Refused> {
    if grant.incarnation != own.incarnation {
        return Err(Refused::Incarnation(own.incarnation));
    }
    if grant.run != own.run {
        return Err(Refused::Run(own.run));
    }
    let running = matches!(phase, Phase::Running(_));
    // Its id is to be the history's, which must be nobody's yet.
    let usable = !grant.operation.is_nil() && grant.position.is_some_and(|at| at.cluster != grant.operation);
    if grant.new_history && !(usable && matches!(phase, Phase::Stopped(_) | Phase::Unusable(Some(_)))) {
        return Err(Refused::NewHistory);
    }
    if let Some(operation) = own.granted.filter(|operation| *operation != grant.operation && !running) {
        return Err(Refused::Granted(operation));
    }
    let position = match phase {
        Phase::Empty => None,
        Phase::Stopped(position) | Phase::Running(Link::NonPrimary { position: Some(position), .. }) => {
            Some(position)
        }
        Phase::Unusable(Some(position)) if grant.new_history => Some(position),
        Phase::Running(Link::NonPrimary { position: None, .. }) => return Err(Refused::Position(None)),
        _ => return Err(Refused::State),
    };
    match (grant.position, position) {
        (None, Some(_)) => return Err(Refused::HoldsData),
        (named, own) if named != own => return Err(Refused::Position(own)),
        _ => {}
    }
    if let Some(peer) = peers.iter().find(|peer| peer.primary().is_some()) {
        return Err(Refused::PrimaryVisible(peer.ordinal));
    }
    let runs = |peer: &&Peer| peer.report.as_ref().is_some_and(|report| report.server_runs);
    match peers.iter().find(runs).filter(|_| !running) {
        Some(peer) => Err(Refused::ServerRuns(peer.ordinal)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
