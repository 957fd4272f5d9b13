//! Who may form a Primary component: the one decision by which this kind could lose data.
//!
//! Galera lets whoever is told so begin a history from what its disk holds; nothing in it knows whether another disk
//! holds more. So no leave is given before every member that may hold data has said what it holds, and never to one
//! that is behind what was seen before. Silence is not death. A visible Primary component always wins, and so does one
//! that may come to be by itself: where servers run without one, only one of them is given leave.
//!
//! A human may say that what others hold is to be lost. What goes on from there is another history, with a UUID of its
//! own: nobody who holds what was given up can be taken for one that only lags.

use std::{cmp::Reverse, fmt::Write};

use quartet_client::galera::{MemberState, Position};
use quartet_crds::conditions::Reason;
use uuid::Uuid;

use crate::{names, plan::list};

/// All that the decision is made of.
#[derive(Clone, Debug)]
pub(crate) struct Evidence<'a> {
    /// The resource's name, for messages.
    pub(crate) name: &'a str,
    /// Of every member that may hold data, by ordinal.
    pub(crate) accounts: Vec<Account>,
    /// The history that the status records.
    pub(crate) recorded: Option<Uuid>,
    /// The highest seqno of it that was ever seen.
    pub(crate) highest: Option<u64>,
    /// A human's word: begin from this member at this position.
    pub(crate) order: Option<(u16, Position)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Account {
    /// It may run, and hold anything. With what is known of why.
    Silent(String),
    /// Its claim was never bound to a volume: there is nothing that could hold data.
    NoVolume,
    /// It does not answer, and did not when a human's word began the recorded history. It holds nothing of that: its manager
    /// joins only once the operator has heard of it, and has taken it off the record.
    SteppedOver,
    Told(Told),
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) state: MemberState,
    pub(crate) position: Option<Position>,
    /// Its server is part of a Primary component, whatever its manager does with it.
    pub(crate) in_primary: bool,
    /// How many members its server counts in its component, itself included.
    pub(crate) sees: Option<u32>,
    pub(crate) message: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Nobody: there is a Primary component.
    Primary,
    /// Nobody yet; it goes on by itself once what is named has happened.
    Wait { reason: Reason, message: String },
    /// Nobody: only a human can say what shall become of it.
    Refuse { reason: Reason, message: String },
    /// The volumes hold this history: it is the cluster's.
    Adopt(Uuid),
    /// This member, from exactly this position; from nothing where the cluster is to be founded.
    Grant { ordinal: u16, position: Option<Position> },
    /// By a human's word, this member begins a new history with exactly what it holds. The servers of `running` run
    /// without a Primary component, and end first.
    Begin { ordinal: u16, position: Position, running: Vec<u16> },
}

pub(crate) fn decide(evidence: &Evidence<'_>) -> Decision {
    if let Some(told) = evidence.told().map(|(_, told)| told).find(|told| told.in_primary) {
        return match (evidence.recorded, told.position) {
            (None, Some(position)) => Decision::Adopt(position.cluster),
            _ => Decision::Primary,
        };
    }
    if let Some(decision) = ordered(evidence) {
        return decision;
    }
    match evidence.recorded {
        Some(cluster) => recover(evidence, cluster),
        None => found(evidence),
    }
}

/// A human's word holds for one position of one member, which it does not keep for long.
fn ordered(evidence: &Evidence<'_>) -> Option<Decision> {
    let (ordinal, position) = evidence.order?;
    let told = evidence.told().find(|(other, _)| *other == ordinal).map(|(_, told)| told)?;
    let running = evidence.those(runs);
    (may_be_begun_from(told) && told.position == Some(position)).then_some(Decision::Begin {
        ordinal,
        position,
        running,
    })
}

/// Its server runs: it may become part of a Primary component by itself.
fn runs(told: &Told) -> bool {
    told.sees.is_some()
        || matches!(
            told.state,
            MemberState::NonPrimary
                | MemberState::Joining
                | MemberState::Initialising
                | MemberState::Stopping
        )
}

/// Its server could form a Primary component now.
fn may_begin(told: &Told) -> bool {
    matches!(told.state, MemberState::Waiting | MemberState::NonPrimary)
}

/// The same, or its data is whole and counts for nothing but by a human's word: only then is its position told.
fn may_be_begun_from(told: &Told) -> bool {
    may_begin(told) || (told.state == MemberState::Unusable && told.position.is_some())
}

/// Nothing is recorded: the cluster is new, or its resource is.
fn found(evidence: &Evidence<'_>) -> Decision {
    let silent = evidence.untold();
    if !silent.is_empty() {
        let message = format!(
            "No answer yet from {}: the cluster is founded once all members say that their volumes are empty.{}",
            evidence.names(&silent),
            evidence.reasons()
        );
        return Decision::Wait { reason: Reason::StartingMembers, message };
    }
    let busy = evidence.those(is_busy);
    if !busy.is_empty() {
        let message = format!(
            "Still finding out what is on the volumes: {}{}.",
            evidence.names(&busy),
            evidence.messages(&busy)
        );
        return Decision::Wait { reason: Reason::StartingMembers, message };
    }
    let stuck = evidence.those(|told| matches!(told.state, MemberState::Failed | MemberState::Unusable));
    if !stuck.is_empty() {
        let message = format!(
            "No server can begin from the volumes of {}{}: delete the claims and pods if what is on them is of no worth.{}",
            evidence.names(&stuck),
            evidence.messages(&stuck),
            evidence.offers()
        );
        return Decision::Refuse { reason: Reason::MemberBlocked, message };
    }
    let mut histories: Vec<Uuid> =
        evidence.told().filter_map(|(_, told)| told.position).map(|position| position.cluster).collect();
    histories.sort_unstable();
    histories.dedup();
    match histories[..] {
        [] => Decision::Grant { ordinal: 0, position: None },
        [cluster] => Decision::Adopt(cluster),
        _ => Decision::Refuse {
            reason: Reason::ForeignMember,
            message: format!(
                "The volumes hold {} different histories ({}): keep those of one of them and delete the claims and pods \
                 of the others, or set spec.recovery.bootstrapFrom to the member and position to begin from.",
                histories.len(),
                list(evidence.told().filter_map(|(ordinal, told)| {
                    Some(format!("{} at {}", evidence.member(ordinal), told.position?))
                }))
            ),
        },
    }
}

/// The server runs, or is about to, or it is not known yet what the volume holds.
fn is_busy(told: &Told) -> bool {
    match told.state {
        MemberState::Examining
        | MemberState::Initialising
        | MemberState::Joining
        | MemberState::Stopping
        | MemberState::Synced
        | MemberState::Donor => true,
        MemberState::Waiting | MemberState::NonPrimary => told.position.is_none(),
        MemberState::Empty | MemberState::Unusable | MemberState::Failed => false,
    }
}

fn recover(evidence: &Evidence<'_>, cluster: Uuid) -> Decision {
    let best = evidence
        .told()
        .filter(|(_, told)| may_begin(told))
        .filter_map(|(ordinal, told)| Some((ordinal, told, told.position?)))
        .filter(|(_, _, position)| position.cluster == cluster)
        .max_by_key(|(ordinal, told, position)| {
            (position.seqno, told.state == MemberState::NonPrimary, Reverse(*ordinal))
        })
        .map(|(ordinal, _, position)| (ordinal, position));
    let silent = evidence.silent();
    if !silent.is_empty() {
        return wait_for(evidence, &silent, best);
    }
    let busy = evidence.those(is_busy);
    if !busy.is_empty() {
        let message = format!(
            "No member is part of a Primary component; it is formed anew once it is known what the volumes hold. Still \
             finding out: {}{}.",
            evidence.names(&busy),
            evidence.messages(&busy)
        );
        return Decision::Wait { reason: Reason::Recovering, message };
    }
    let running = evidence.those(|told| told.state == MemberState::NonPrimary);
    if are_apart(evidence, &running) {
        return wait_for_network(evidence, &running, best);
    }
    let failed = evidence.those(|told| {
        told.state == MemberState::Failed
            && told.position.is_none_or(|theirs| {
                theirs.cluster == cluster && best.is_none_or(|(_, best)| theirs.seqno > best.seqno)
            })
    });
    if !failed.is_empty() {
        let message = format!(
            "The newest data may be where the server does not run, on {}{}: look at the log. {}",
            evidence.names(&failed),
            evidence.messages(&failed),
            instead(evidence, best)
        );
        return Decision::Refuse { reason: Reason::MemberBlocked, message };
    }
    let Some((ordinal, position)) = best else { return nothing_left(evidence, cluster) };
    if !running.is_empty() && !running.contains(&ordinal) {
        return wait_for_end(evidence, &running, (ordinal, position));
    }
    match evidence.highest {
        Some(highest) if position.seqno < highest => lost(evidence, cluster, (ordinal, position), highest),
        _ => Decision::Grant { ordinal, position: Some(position) },
    }
}

/// Servers that run and do not see each other are not dead but cut off. Once they see each other they go on by
/// themselves: leave is for those whose others are gone.
fn are_apart(evidence: &Evidence<'_>, running: &[u16]) -> bool {
    let sees_all = |told: &Told| {
        told.sees.is_some_and(|sees| usize::try_from(sees).is_ok_and(|sees| sees >= running.len()))
    };
    evidence.told().any(|(ordinal, told)| running.contains(&ordinal) && !sees_all(told))
}

fn wait_for_network(evidence: &Evidence<'_>, running: &[u16], best: Option<(u16, Position)>) -> Decision {
    let message = format!(
        "The servers of {} run, and do not see each other: they form a Primary component by themselves once they do. If \
         it lasts, look at the network between them. {}",
        evidence.names(running),
        instead(evidence, best)
    );
    Decision::Wait { reason: Reason::Recovering, message }
}

/// Galera forms a Primary component by itself once it knows that the others are gone: nobody who is stopped is begun
/// from while a server runs.
fn wait_for_end(evidence: &Evidence<'_>, running: &[u16], best: (u16, Position)) -> Decision {
    let (ordinal, position) = best;
    let message = format!(
        "The newest data, {position}, is on {}, and the servers of {} run without it: their managers end them, and it is \
         begun from. If it lasts, look at the network between them, or delete the pods of those that run.",
        evidence.member(ordinal),
        evidence.names(running),
    );
    Decision::Wait { reason: Reason::Recovering, message }
}

fn wait_for(evidence: &Evidence<'_>, silent: &[u16], best: Option<(u16, Position)>) -> Decision {
    let message = format!(
        "No answer from {}: who does not answer may hold newer data, or still run, so that no Primary component is \
         formed without it.{} Bring it back. For anything else, make sure first that its host is off or its server has \
         ended: it may be serving clients. If its volume is lost for good, delete its claim and pod then, and it comes \
         back empty. {}",
        evidence.names(silent),
        evidence.reasons(),
        instead(evidence, best)
    );
    Decision::Wait { reason: Reason::WaitingForMembers, message }
}

fn lost(evidence: &Evidence<'_>, cluster: Uuid, best: (u16, Position), highest: u64) -> Decision {
    let (ordinal, position) = best;
    let without = evidence.without(cluster);
    let suspects = if without.is_empty() {
        "No volume is empty: one of them holds an older state than before. ".to_owned()
    } else {
        format!("Nothing of it is on {}. ", evidence.names(&without))
    };
    let message = format!(
        "Transaction {highest} of {cluster} was seen before, and the newest that is there is {}, on {}: {} missing. \
         {suspects}Bring the right volumes back. {}",
        position.seqno,
        evidence.member(ordinal),
        highest - position.seqno,
        instead(evidence, Some(best))
    );
    Decision::Refuse { reason: Reason::DataLost, message }
}

fn nothing_left(evidence: &Evidence<'_>, cluster: Uuid) -> Decision {
    let foreign: Vec<u16> = evidence
        .told()
        .filter(|(_, told)| told.state != MemberState::Unusable)
        .filter(|(_, told)| told.position.is_some_and(|position| position.cluster != cluster))
        .map(|(ordinal, _)| ordinal)
        .collect();
    let all = evidence.without(cluster);
    let reason = if foreign.is_empty() { Reason::DataLost } else { Reason::ForeignMember };
    let what = if foreign.is_empty() {
        String::new()
    } else {
        let position = |ordinal: &u16| evidence.told().find(|(other, _)| other == ordinal)?.1.position;
        let held = foreign
            .iter()
            .filter_map(|ordinal| Some(format!("{} at {}", evidence.member(*ordinal), position(ordinal)?)));
        format!(" Other histories: {}; spec.recovery.bootstrapFrom can begin from one of them.", list(held))
    };
    let message = format!(
        "No volume of {} holds data of {cluster} that a server could begin with{}. Nothing is founded in its place: bring \
         the volumes back, or delete the resource and create it anew to begin without data.{what}{}",
        evidence.names(&all),
        evidence.messages(&all),
        evidence.offers()
    );
    Decision::Refuse { reason, message }
}

/// What a human can do beside what the sentences before say.
fn instead(evidence: &Evidence<'_>, best: Option<(u16, Position)>) -> String {
    let mut text = match best {
        Some((ordinal, position)) => format!(
            "To go on with what is there, and lose the rest, set spec.recovery.bootstrapFrom to {{member: {}, position: \
             \"{position}\"}}: a new history begins, and who holds more stays out of it.",
            evidence.member(ordinal)
        ),
        None => "No member that answers holds data to begin from.".to_owned(),
    };
    text.push_str(&evidence.offers());
    if let Some((ordinal, position)) = evidence.order {
        let told = evidence.told().find(|(other, _)| *other == ordinal).and_then(|(_, told)| told.position);
        let now = told.map_or_else(|| "has told no position".to_owned(), |now| format!("is at {now}"));
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            " The present one does not hold: it says {position}, and {} {now}.",
            evidence.member(ordinal)
        );
    }
    text
}

impl Evidence<'_> {
    fn told(&self) -> impl Iterator<Item = (u16, &Told)> {
        (0_u16..).zip(&self.accounts).filter_map(|(ordinal, account)| match account {
            Account::Told(told) => Some((ordinal, told)),
            Account::Silent(_) | Account::NoVolume | Account::SteppedOver => None,
        })
    }

    fn those(&self, which: impl Fn(&Told) -> bool) -> Vec<u16> {
        self.told().filter(|(_, told)| which(told)).map(|(ordinal, _)| ordinal).collect()
    }

    fn untold(&self) -> Vec<u16> {
        let untold =
            |(ordinal, account): (u16, &Account)| (!matches!(account, Account::Told(_))).then_some(ordinal);
        (0_u16..).zip(&self.accounts).filter_map(untold).collect()
    }

    fn silent(&self) -> Vec<u16> {
        let silent =
            |(ordinal, account): (u16, &Account)| matches!(account, Account::Silent(_)).then_some(ordinal);
        (0_u16..).zip(&self.accounts).filter_map(silent).collect()
    }

    /// Members that can give back nothing of this history.
    fn without(&self, cluster: Uuid) -> Vec<u16> {
        let holds = |account: &Account| match account {
            Account::Told(told) => {
                told.state != MemberState::Unusable
                    && told.position.is_some_and(|position| position.cluster == cluster)
            }
            Account::Silent(_) => true,
            Account::NoVolume | Account::SteppedOver => false,
        };
        let accounts = (0_u16..).zip(&self.accounts);
        accounts.filter(|(_, account)| !holds(account)).map(|(ordinal, _)| ordinal).collect()
    }

    /// Data that counts for nothing, and is whole: what a human may do about it, as a sentence. Empty where there is none.
    fn offers(&self) -> String {
        let offered = self.told().filter(|(_, told)| told.state == MemberState::Unusable);
        let held = offered
            .filter_map(|(ordinal, told)| Some(format!("{} at {}", self.member(ordinal), told.position?)));
        let held: Vec<String> = held.collect();
        if held.is_empty() {
            return String::new();
        }
        let held = list(held);
        format!(" Whole, but not trusted: {held}; only spec.recovery.bootstrapFrom can begin from that.")
    }

    /// Why those that are silent are, as far as it is known.
    fn reasons(&self) -> String {
        let mut reasons: Vec<&str> = Vec::new();
        for account in &self.accounts {
            if let Account::Silent(why) = account
                && !why.is_empty()
                && !reasons.contains(&why.as_str())
            {
                reasons.push(why);
            }
        }
        reasons.iter().fold(String::new(), |text, why| format!("{text} {}", why.trim()))
    }

    fn messages(&self, ordinals: &[u16]) -> String {
        let told = self.told().filter(|(ordinal, _)| ordinals.contains(ordinal));
        let said = told.filter_map(|(ordinal, told)| {
            Some(format!("{}: {}", self.member(ordinal), told.message.as_deref()?))
        });
        let said = said.collect::<Vec<_>>().join("; ");
        if said.is_empty() { said } else { format!(" ({said})") }
    }

    fn member(&self, ordinal: u16) -> String {
        names::member(self.name, ordinal)
    }

    fn names(&self, ordinals: &[u16]) -> String {
        list(ordinals.iter().map(|ordinal| self.member(*ordinal)))
    }
}
