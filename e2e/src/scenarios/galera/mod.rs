//! Scenarios of GaleraCluster.

mod basics;
mod changes;
mod component;
mod hosts;
mod hung;
mod input;
mod kills;
mod partitions;
mod proxy;
mod rest;
mod stand;
mod wrong;

use std::time::Duration;

use super::{Scenario, shared, storage};

/// Part of a full run. Where times are measured or hosts are broken, they run alone.
pub const SCENARIOS: &[Scenario] = &[
    shared(
        "galera-basics",
        "what is written through the proxies is read on every member, and nobody comes in without a password",
        |stage| Box::pin(basics::written_once_read_everywhere(stage)),
    ),
    shared("galera-input", "what users get wrong is told where they look, and breaks nothing", |stage| {
        Box::pin(input::told(stage))
    }),
    shared("galera-password", "a changed password is in force without a restart or a broken connection", |stage| {
        Box::pin(changes::password(stage))
    })
    .exclusive(),
    shared(
        "galera-rest",
        "hibernated and woken, deleted and made anew on its volumes: the same history, and nothing is missing",
        |stage| Box::pin(rest::stopped_and_begun_anew(stage)),
    )
    .within(Duration::from_mins(20)),
    shared(
        "galera-killed",
        "one member killed: clients wait 2 s at most, it fetches what it missed; two of three: writable within 10 s",
        |stage| Box::pin(kills::one_and_two(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(20)),
    shared(
        "galera-wrong-volume",
        "all killed with a forged grastate.dat or a wiped volume: never begun from the wrong one",
        |stage| Box::pin(wrong::forged_and_wiped(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(20)),
    shared(
        "galera-storage-growth",
        "volumes grow where their class allows it, and the refusal says why elsewhere",
        |stage| Box::pin(storage::of_galera_cluster(stage)),
    ),
    shared(
        "galera-pods-killed",
        "two of three whole pods killed: writable within 10 s of the next ones, whichever is left",
        |stage| Box::pin(kills::two_pods(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(20)),
    shared(
        "galera-proxy",
        "no query reaches a member later than 1 s after it left the Primary component",
        |stage| Box::pin(proxy::nobody_reaches_a_member_apart(stage)),
    )
    .on_kind()
    .exclusive(),
    shared("galera-paused", "a member stopped for 20 s: the others serve, and it comes back by itself", |stage| {
        Box::pin(partitions::paused(stage))
    })
    .on_kind()
    .exclusive(),
];

/// By a filter only: they take long, or have not passed often enough yet to decide over everybody's change.
pub const ON_REQUEST: &[Scenario] = &[
    shared(
        "galera-all-killed",
        "all members killed 20 times under load: nothing acknowledged is lost, writable within 30 s",
        |stage| Box::pin(kills::all(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(40)),
    shared(
        "galera-transfer-interrupted",
        "all killed while a member receives everything: never begun from half of the data",
        |stage| Box::pin(wrong::transfer_interrupted(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(20)),
    shared(
        "galera-data-lost",
        "only a member that is behind is left: nothing begins until a human says so, and the status says what to do",
        |stage| Box::pin(wrong::what_was_acknowledged_is_gone(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(20)),
    shared(
        "galera-partitions",
        "each member cut off, each pair cut apart: one Primary component at most, clients are served, all heals",
        |stage| Box::pin(partitions::cut_apart(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(20)),
    shared(
        "galera-majority-cut-off",
        "two of three cut off together: they are the cluster, and the third is never made to go on without them",
        |stage| Box::pin(partitions::majority_cut_off(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(20)),
    shared("galera-no-majority", "all cut apart: nobody takes a write until they see each other again", |stage| {
        Box::pin(partitions::no_majority(stage))
    })
    .on_kind()
    .exclusive(),
    shared(
        "galera-changes",
        "settings, image, 3→5→3 under load: no operation meets more than one broken connection",
        |stage| Box::pin(changes::rolled_and_scaled(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(30)),
    shared(
        "galera-drained",
        "hosts drained one by one under load: one member at a time, no operation meets more than one broken connection",
        |stage| Box::pin(changes::drained(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(20)),
    shared(
        "galera-hung",
        "a server stopped under its manager: nobody is sent to it after 1 s, the others serve, it comes back by itself",
        |stage| Box::pin(hung::nobody_waits(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(20)),
    shared(
        "galera-host-and-crash",
        "a host lost, then one more server killed: the last member goes on within 10 s, and all heals",
        |stage| Box::pin(hosts::lost_and_a_crash(stage)),
    )
    .on_kind()
    .exclusive()
    .within(Duration::from_mins(25)),
];
