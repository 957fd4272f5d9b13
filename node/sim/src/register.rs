//! Registers as a state machine: every answer tells what was there before, so that a lost or repeated write shows.

use std::collections::BTreeMap;

use bytes::Bytes;
use quartet_raft::LogTime;
use quartet_replica::{At, CorruptSnapshot, Settled, StateMachine};

pub(crate) const REGISTERS: u8 = 2;

#[derive(Default)]
pub(crate) struct Registers(BTreeMap<u8, u64>);

pub(crate) fn write(register: u8, value: u64) -> Bytes {
    let mut command = vec![register];
    command.extend(value.to_be_bytes());
    command.into()
}

pub(crate) fn read(register: u8) -> Bytes {
    vec![register].into()
}

pub(crate) fn value(answer: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(answer.try_into().ok()?))
}

impl StateMachine for Registers {
    fn advance(&mut self, _: At, _: &mut Settled) {}

    fn apply(&mut self, at: At, command: &[u8], settled: &mut Settled) {
        let (Some(register), Some(value)) = (command.first(), command.get(1..).and_then(value)) else {
            return settled.refuse(at.index, Bytes::new());
        };
        let before = self.0.insert(*register, value).unwrap_or(0);
        settled.settle(at.index, before.to_be_bytes().to_vec());
    }

    fn query(&self, query: &[u8]) -> Bytes {
        let value = query.first().and_then(|register| self.0.get(register)).copied().unwrap_or(0);
        value.to_be_bytes().to_vec().into()
    }

    fn deadline(&self) -> Option<LogTime> {
        None
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(register, value)| write(*register, *value)).collect()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), CorruptSnapshot> {
        let mut registers = BTreeMap::new();
        for chunk in snapshot.chunks(9) {
            let value = chunk.get(1..).and_then(value);
            let value = value.ok_or_else(|| CorruptSnapshot("a register is cut short".to_owned()))?;
            registers.insert(chunk[0], value);
        }
        self.0 = registers;
        Ok(())
    }
}
