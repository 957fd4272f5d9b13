//! Cuts. Pods are routed, never bridged, so that every packet of a pod passes its host's FORWARD chain, also between
//! two pods of one host. The kubelet's own probes do not pass it: a pod that is cut off is not restarted for it.

use anyhow::Result;

use super::{Fault, target::Target};
use crate::cluster::hosts::{Host, shell};

/// Our chain comes before all others, so that connections that exist already are cut too. `$1` is a rule.
const CUT: &str = "iptables -w -N QUARTET 2>/dev/null || true
for c in INPUT OUTPUT FORWARD; do iptables -w -D $c -j QUARTET 2>/dev/null || true; iptables -w -I $c 1 -j QUARTET; done
for rule in \"$@\"; do iptables -w -A QUARTET $rule -j DROP; done";
const MEND: &str = "for rule in \"$@\"; do iptables -w -D QUARTET $rule -j DROP 2>/dev/null || true; done";
/// Ends all cuts of a host.
pub(super) const HEAL: &str = "iptables -w -F QUARTET 2>/dev/null || true";

/// Cuts a pod off from everybody but its own kubelet.
pub async fn cut_off(pod: &Target) -> Result<Fault> {
    let rules = [format!("-s {}", pod.address), format!("-d {}", pod.address)];
    cut(&pod.host, &rules, format!("pod {} cut off", pod.title())).await
}

/// Cuts two pods off from each other.
pub async fn cut_between(one: &Target, other: &Target) -> Result<Fault> {
    let rules = [
        format!("-s {} -d {}", one.address, other.address),
        format!("-s {} -d {}", other.address, one.address),
    ];
    cut(&one.host, &rules, format!("pods {} and {} cut apart", one.title(), other.title())).await
}

/// Cuts two pods off from everybody but each other.
pub async fn cut_off_together(one: &Target, other: &Target) -> Result<[Fault; 2]> {
    let but = async |pod: &Target, friend: &Target| {
        let (own, friend) = (&pod.address, &friend.address);
        let rules = [format!("-s {own} ! -d {friend}"), format!("! -s {friend} -d {own}")];
        cut(&pod.host, &rules, format!("pod {} cut off with another", pod.title())).await
    };
    Ok([but(one, other).await?, but(other, one).await?])
}

/// Lets nothing from one pod reach the other: a one-way cut.
pub async fn cut_one_way(from: &Target, to: &Target) -> Result<Fault> {
    let rules = [format!("-s {} -d {}", from.address, to.address)];
    cut(&from.host, &rules, format!("pod {} no longer reaches {}", from.title(), to.title())).await
}

/// Cuts a host off from all others and from this machine; its own pods still reach each other.
pub async fn cut_off_host(host: &Host) -> Result<Fault> {
    let rules = ["-i eth0".to_owned(), "-o eth0".to_owned()];
    cut(&host.name, &rules, format!("host {} cut off", host.name)).await
}

async fn cut(host: &str, rules: &[String], what: String) -> Result<Fault> {
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let mut fault = Fault::new(what);
    // Recorded before the act: half a cut is healed too.
    fault.undo_in_host(host, MEND, &rules);
    shell(host, CUT, &rules).await?;
    Ok(fault)
}
