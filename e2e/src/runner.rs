//! Runs scenarios: those that may share the cluster three at a time, then the others one by one.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};

use crate::bundle;
use crate::cluster::{OPERATOR_NAMESPACE, hosts, ready};
use crate::faults::{self, operator};
use crate::paths::Paths;
use crate::report::{Outcome, Verdict};
use crate::scenarios::{Needs, Scenario, Sharing};
use crate::stage::Stage;
use crate::up::Standing;

const AT_ONCE: usize = 3;
const CALM_DEADLINE: Duration = Duration::from_mins(3);
const REPLICAS: i32 = 2;

pub async fn run(paths: &Paths, standing: &Standing, scenarios: Vec<Scenario>) -> Vec<Outcome> {
    let ours = standing.images.is_some();
    let (run, left_out): (Vec<_>, Vec<_>) =
        scenarios.into_iter().partition(|scenario| ours || scenario.needs == Needs::Operator);
    let mut outcomes: Vec<_> = left_out.iter().map(left).collect();
    let (alone, together): (Vec<_>, Vec<_>) =
        run.into_iter().partition(|scenario| scenario.sharing == Sharing::Exclusive);
    if ours && let Err(error) = calm(&standing.client).await {
        println!("    {error:#}");
    }
    let shared = futures::stream::iter(&together).map(|scenario| one(paths, standing, scenario));
    outcomes.extend(shared.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
    for scenario in &alone {
        let outcome = match calm_if(ours, &standing.client).await {
            Ok(()) => one(paths, standing, scenario).await,
            Err(error) => {
                failed(scenario, Duration::ZERO, &error.context("the cluster did not calm down before"))
            }
        };
        outcomes.push(outcome);
    }
    if let Err(error) = calm_if(ours, &standing.client).await {
        println!("    {error:#}");
    }
    outcomes
}

async fn calm_if(ours: bool, client: &Client) -> Result<()> {
    if ours { calm(client).await } else { Ok(()) }
}

/// Ends what an earlier scenario broke: faults, stopped hosts, a scaled operator.
async fn calm(client: &Client) -> Result<()> {
    faults::heal_all().await?;
    let (wanted, since) = (hosts::list().await?.len(), Some(hosts::last_start().await?));
    ready::hosts(client, wanted, since, CALM_DEADLINE).await?;
    let deployments = Api::<Deployment>::namespaced(client.clone(), OPERATOR_NAMESPACE);
    if deployments.get_opt(operator::DEPLOYMENT).await?.is_some() {
        operator::scale(client, REPLICAS, CALM_DEADLINE).await?;
    }
    Ok(())
}

async fn one(paths: &Paths, standing: &Standing, scenario: &Scenario) -> Outcome {
    println!("--> {}: {}", scenario.name, scenario.claim);
    let started = Instant::now();
    let set = Stage::set(standing.client.clone(), scenario.name, standing.images.clone());
    let stage = match set.await.context("prepare the namespace") {
        Ok(stage) => stage,
        Err(error) => return said(failed(scenario, started.elapsed(), &error)),
    };
    let result = bounded(scenario, &stage).await;
    let took = started.elapsed();
    let outcome = match result {
        Ok(()) => match stage.clear().await {
            Ok(()) => passed(scenario, took),
            Err(error) => failed(scenario, took, &error.context("clean up after it passed")),
        },
        Err(error) => failed(scenario, took, &error),
    };
    if let Verdict::Failed(error) = &outcome.verdict {
        match bundle::keep(paths, &stage, scenario.name, error).await {
            Ok(dir) => println!("    kept in {} (and namespace {})", dir.display(), stage.namespace),
            Err(error) => println!("    nothing kept: {error:#}"),
        }
    }
    said(outcome)
}

/// A panic of an assertion is a failure like any other; faults heal as the scenario is dropped.
async fn bounded(scenario: &Scenario, stage: &Stage) -> Result<()> {
    let run = AssertUnwindSafe((scenario.run)(stage.clone())).catch_unwind();
    match tokio::time::timeout(scenario.deadline, run).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(anyhow!("an assertion failed: {}", message(panic.as_ref()))),
        Err(_) => Err(anyhow!("did not end within {:?}", scenario.deadline)),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn passed(scenario: &Scenario, took: Duration) -> Outcome {
    Outcome { name: scenario.name.to_owned(), took, verdict: Verdict::Passed }
}

fn failed(scenario: &Scenario, took: Duration, error: &anyhow::Error) -> Outcome {
    Outcome { name: scenario.name.to_owned(), took, verdict: Verdict::Failed(format!("{error:#}")) }
}

fn left(scenario: &Scenario) -> Outcome {
    let why = "needs the hosts of a kind cluster".to_owned();
    Outcome { name: scenario.name.to_owned(), took: Duration::ZERO, verdict: Verdict::LeftOut(why) }
}

fn said(outcome: Outcome) -> Outcome {
    println!("    {}", outcome.line());
    outcome
}
