//! What the kernel says about this process.

use std::fs;

pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: i64,
}

/// None where there is no /proc.
pub(super) fn usage() -> Option<Usage> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name is in parentheses and may hold anything; the fields are counted after it (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (user, system): (f64, f64) = (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
    let resident_pages: u64 = fields.get(21)?.parse().ok()?;
    let ticks = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    Some(Usage {
        cpu_seconds: (user + system) / f64::from(ticks),
        resident_bytes: i64::try_from(resident_pages * page).ok()?,
    })
}
