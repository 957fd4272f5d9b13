//! What members are told and asked from outside.

use quartet_replica::engine::{Event, MemberCommand, Report, RequestId};

use super::{Happening, World};

impl World {
    pub(super) fn operate(&mut self) {
        let reports = self.reports();
        for (leader, command) in self.operator.next(&reports) {
            let wait = self.rng.between(1_000, 500_000);
            let there = self.hosts.get(&leader.ordinal).is_some_and(|host| host.id == leader);
            if there {
                self.note(|| format!("the operator will tell {leader} {command:?}"));
                self.command(leader.ordinal, wait, command);
            }
        }
        if self.operator.is_settled(self.plan.groups, &reports) {
            self.retire();
        }
        let wait = self.rng.between(200_000, 600_000);
        self.after(wait, Happening::Operate);
    }

    /// Ends members that belong nowhere any more.
    pub(super) fn retire(&mut self) {
        let wanted = &self.operator.wanted;
        for host in self.hosts.values_mut().filter(|host| !wanted.contains(&host.id)) {
            host.running = None;
            host.retired = true;
        }
    }

    /// Brings an event to the member's present life, later.
    pub(crate) fn bring(&mut self, ordinal: u16, wait_us: u64, event: Event) {
        if let Some(host) = self.hosts.get(&ordinal) {
            let life = host.life;
            self.after(wait_us, Happening::ToMember { host: ordinal, life, event: Box::new(event) });
        }
    }

    pub(crate) fn command(&mut self, ordinal: u16, wait_us: u64, command: MemberCommand) {
        let id = self.request_id();
        self.bring(ordinal, wait_us, Event::Command { id, command });
    }

    pub(super) fn request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        let serving = self.hosts.values().filter(|host| host.is_serving());
        serving.filter_map(|host| host.running.as_ref().map(|running| running.member.report())).collect()
    }
}
