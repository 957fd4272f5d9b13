//! The end of a run: whether the cluster recovers from all that was done to it, and whether its clients were told
//! the truth.

use std::collections::BTreeMap;
use std::fmt::Write;

use quartet_history::Operation;
use quartet_history::linear::{Register, RegisterOperation, Verdict as Linear, check};
use quartet_history::lock::{Limits, check as check_locks};
use quartet_replica::GroupId;

use super::{Happening, RECOVERY_US, Verdict, World};
use crate::invariant::{Invariant, Violation};

impl World {
    pub(super) fn calm_down(&mut self) -> Verdict {
        self.calm = true;
        self.note(|| "all faults end".to_owned());
        self.network.heal();
        self.network.weather.loss_per_mille = 0;
        // Leaders last only where messages take much less than an election timeout (Raft §5.6).
        self.network.weather.late_per_mille = 0;
        self.clients_cut.clear();
        let hosts: Vec<(u16, u64)> = self.hosts.iter().map(|(ordinal, host)| (*ordinal, host.life)).collect();
        for (ordinal, life) in hosts {
            self.resume(ordinal, life, None)?;
            self.room(ordinal)?;
            if self.hosts.get(&ordinal).is_some_and(|host| !host.retired) {
                self.start(ordinal)?;
            }
        }
        self.after(1_000_000, Happening::Check);
        Ok(())
    }

    pub(super) fn serves(&self, group: GroupId) -> bool {
        self.record.served_us.get(&group).is_some_and(|sent| *sent > self.plan.faults_until)
    }

    /// Whether every group has answered since, is made of the wanted members, and all of them have the same state.
    pub(super) fn is_recovered(&mut self) -> Result<bool, Violation> {
        let groups: Vec<GroupId> = (0..self.plan.groups).map(GroupId).collect();
        let reports = self.reports();
        if !groups.iter().all(|group| self.serves(*group))
            || !self.operator.is_settled(self.plan.groups, &reports)
        {
            return Ok(false);
        }
        self.quiet = true;
        for group in groups {
            let mut states = BTreeMap::new();
            for host in self.hosts.values().filter(|host| self.operator.wanted.contains(&host.id)) {
                let Some(running) = &host.running else { return Ok(false) };
                let applied = running.member.report().groups.into_iter().find(|report| report.group == group);
                let Some(applied) = applied.map(|report| report.applied) else { return Ok(false) };
                states.insert(host.id, (applied, running.member.state(group)));
            }
            let mut found = states.into_iter();
            let Some((first_id, first)) = found.next() else { return Ok(false) };
            for (id, state) in found {
                if state.0 != first.0 {
                    return Ok(false);
                }
                if state.1 != first.1 {
                    let detail = format!("{first_id} and {id} differ in group {} at {:?}", group.0, first.0);
                    return Err(Violation::new(Invariant::StateMachineSafety, detail));
                }
            }
        }
        Ok(true)
    }

    pub(super) fn stuck(&self) -> Violation {
        let mut detail = format!("not recovered {} s after the last fault:", RECOVERY_US / 1_000_000);
        for report in self.reports() {
            for group in report.groups {
                let served = self.serves(group.group);
                let _ = write!(
                    detail,
                    "\n  {} group {} {:?} {:?} leader {:?} last {:?} applied {:?} voters {:?} learners {:?} served {served}",
                    report.id,
                    group.group.0,
                    group.role,
                    group.term,
                    group.leader,
                    group.last,
                    group.applied,
                    group.configuration.voters,
                    group.configuration.learners,
                );
            }
        }
        Violation::new(Invariant::Liveness, detail)
    }

    pub(super) fn check_histories(&mut self) -> Verdict {
        let mut registers: BTreeMap<(GroupId, u8), Vec<RegisterOperation>> = BTreeMap::new();
        for client in &mut self.clients {
            if let Some(asked) = client.current.take() {
                asked.abandon(client.number, self.now, &mut self.record);
            }
        }
        for (group, register, operation) in std::mem::take(&mut self.record.registers) {
            registers.entry((group, register)).or_default().push(operation);
        }
        for ((group, register), mut history) in registers {
            history.sort_by_key(|operation| operation.start_us);
            match check::<Register>(&history, 0, 50_000) {
                Linear::Linearizable => {}
                Linear::Undecided => self.coverage.undecided += 1,
                Linear::NotLinearizable => {
                    let mut detail = format!("register {register} of group {}:", group.0);
                    for Operation { client, start_us, end_us, request, outcome } in history {
                        let _ = write!(
                            detail,
                            "\n  {start_us} to {end_us:?} client {client} {request:?} {outcome:?}"
                        );
                    }
                    return Err(Violation::new(Invariant::Linearizability, detail));
                }
            }
        }
        // Its clocks may be slow as well: what counts is the difference to the fastest.
        let limits = Limits { drift_ppm: self.plan.drift_ppm + 1000 };
        match check_locks(&self.record.locks, limits).into_iter().next() {
            None => Ok(()),
            Some(violation) => {
                let mut detail = violation.to_string();
                let resource = violation.resource().to_owned();
                self.record.locks.sort_by_key(|operation| operation.start_us);
                for Operation { client, start_us, end_us, request, outcome } in &self.record.locks {
                    if request.resource().is_none_or(|of| of == resource) {
                        let _ = write!(
                            detail,
                            "\n  {start_us} to {end_us:?} client {client} {request:?} {outcome:?}"
                        );
                    }
                }
                Err(Violation::new(Invariant::Locks, detail))
            }
        }
    }
}
