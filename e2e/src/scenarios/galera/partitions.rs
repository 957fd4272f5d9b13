//! Members cut apart and stopped where they are: never two Primary components, and all heals by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::component::OneComponent;
use super::stand::{MEMBERS, SOON, Stand};
use crate::faults::network::{cut_between, cut_off, cut_off_together};
use crate::faults::{Fault, process};
use crate::stage::Stage;
use crate::wait::{throughout, until};

/// Longer than the group takes to give up on somebody (15 s).
const APART: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(20);

/// Each member from all others, and each pair: of three the others remain a majority, or two by way of the third.
pub(super) async fn cut_apart(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    for alone in 0..MEMBERS {
        let cut = cut_off(&stand.cluster.target(alone).await?).await?;
        stays_one(&stand, &others(&[alone]), &format!("member {alone} cut off")).await?;
        cut.heal().await?;
        stand.well_again().await.with_context(|| format!("after member {alone} was cut off"))?;
    }
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let cut = cut_between(&stand.cluster.target(one).await?, &stand.cluster.target(other).await?).await?;
        let what = format!("members {one} and {other} cut apart");
        stays_one(&stand, &everybody(), &what).await?;
        cut.heal().await?;
        stand.well_again().await.with_context(|| what)?;
    }
    stand.end().await.map(drop)
}

/// Two that see each other and nobody else: they are the majority, and neither clients nor the operator know of it. The
/// one that is left must not be made to go on.
pub(super) async fn majority_cut_off(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    for left in 0..MEMBERS {
        let pair: Vec<u16> = others(&[left]).into_iter().collect();
        let (one, other) = (stand.cluster.target(pair[0]).await?, stand.cluster.target(pair[1]).await?);
        let cuts = cut_off_together(&one, &other).await?;
        refuses_writes(&stand, left).await?;
        stays_one_component(&stand, &everybody(), APART, "one component, of the two").await?;
        for member in &pair {
            let server = stand.cluster.server(*member).await?;
            ensure!(server.is_primary(), "member {member} has left the majority");
        }
        let waits = stand.cluster.condition("Recovering", "True", "WaitingForMembers", SOON).await?;
        for member in pair {
            let name = stand.cluster.member(member);
            ensure!(waits.message.contains(&name), "{name} is not waited for: {}", waits.message);
        }
        for cut in cuts {
            cut.heal().await?;
        }
        stand.well_again().await.with_context(|| format!("after all but member {left} were cut off"))?;
    }
    stand.end().await.map(drop)
}

/// Everybody from everybody: no majority anywhere, and nothing is written until they see each other again.
pub(super) async fn no_majority(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    let mut cuts: Vec<Fault> = Vec::new();
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let (one, other) = (stand.cluster.target(one).await?, stand.cluster.target(other).await?);
        cuts.push(cut_between(&one, &other).await?);
    }
    for member in 0..MEMBERS {
        refuses_writes(&stand, member).await?;
    }
    // The operator reaches all of them, and gives nobody leave: they are alive.
    throughout("nobody is Primary", APART, async || nobody_is_primary(&stand).await).await?;
    let waits = stand.cluster.condition("Recovering", "True", "Recovering", SOON).await?;
    ensure!(waits.message.contains("network"), "it does not say where to look: {}", waits.message);
    for cut in cuts {
        cut.heal().await?;
    }
    stand.well_again().await?;
    stand.end().await.map(drop)
}

async fn nobody_is_primary(stand: &Stand) -> Result<()> {
    for member in 0..MEMBERS {
        ensure!(!stand.cluster.server(member).await?.is_primary(), "member {member} is");
    }
    Ok(())
}

pub(super) async fn paused(stage: Stage) -> Result<()> {
    let stand = Stand::make(&stage).await?;
    for member in 0..MEMBERS {
        let pause = process::pause(&stand.cluster.target(member).await?).await?;
        stands_still(&stand, member).await?;
        pause.heal().await?;
        stand.well_again().await.with_context(|| format!("after member {member} was stopped for a while"))?;
    }
    stand.end().await.map(drop)
}

/// The others serve meanwhile.
async fn stands_still(stand: &Stand, member: u16) -> Result<()> {
    let rest = others(&[member]);
    stays_one_component(stand, &rest, PAUSE, &format!("one component without member {member}")).await?;
    stand.load.flows(SOON).await
}

async fn stays_one_component(
    stand: &Stand,
    asked: &BTreeSet<u16>,
    period: Duration,
    what: &str,
) -> Result<()> {
    let mut component = OneComponent::default();
    throughout(what, period, async || component.look(stand, asked).await).await
}

fn everybody() -> BTreeSet<u16> {
    (0..MEMBERS).collect()
}

fn others(left_out: &[u16]) -> BTreeSet<u16> {
    (0..MEMBERS).filter(|member| !left_out.contains(member)).collect()
}

/// For as long as they are apart there is one component at most, and clients are served all the time.
async fn stays_one(stand: &Stand, reachable: &BTreeSet<u16>, what: &str) -> Result<()> {
    stays_one_component(stand, &everybody(), APART, what).await?;
    stand.load.flows(SOON).await.with_context(|| what.to_owned())?;
    for member in (0..MEMBERS).filter(|member| !reachable.contains(member)) {
        refuses_writes(stand, member).await?;
    }
    Ok(())
}

/// Past every proxy.
async fn refuses_writes(stand: &Stand, member: u16) -> Result<()> {
    until(&format!("member {member} to refuse writes"), SOON, async || {
        let server = stand.cluster.server(member).await?;
        ensure!(!server.is_primary(), "it is part of a Primary component");
        Ok(())
    })
    .await?;
    let written =
        stand.cluster.sql(member, "INSERT INTO beauty.entries (id) VALUES (18446744073709551615)").await;
    match written {
        Ok(_) => bail!("member {member} took a write without a majority"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains("1047"), "refused otherwise than expected: {said}");
            Ok(())
        }
    }
}
