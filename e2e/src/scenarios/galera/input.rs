//! What users get wrong is told where they look, and breaks nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::galera_cluster::{Cluster, READY_DEADLINE};
use crate::stage::Stage;
use crate::subject::is;

const SOON: Duration = Duration::from_secs(30);

pub(super) async fn told(stage: Stage) -> Result<()> {
    for (spec, named) in [
        (json!({"replicas": 2}), "replicas"),
        (json!({"replicas": 4}), "replicas"),
        (json!({"version": "11.4"}), "version"),
        (json!({"users": [{"name": "app", "database": "nowhere"}]}), "database"),
        (json!({"databases": [{"name": "mysql"}]}), "databases"),
        (json!({"proxy": {"stats": {"port": 0}}}), "port"),
    ] {
        refused(&stage, spec, named).await?;
    }
    bad_sql(&stage).await?;
    missing_secret(&stage).await
}

/// By the API server: it never gets as far as the operator.
async fn refused(stage: &Stage, spec: Value, named: &str) -> Result<()> {
    match Cluster::apply(stage, "wrong", spec.clone()).await {
        Ok(_) => anyhow::bail!("{spec} was accepted"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains(named), "{spec} is refused without naming {named}: {said}");
            Ok(())
        }
    }
}

/// The spec is in force, one statement of it is not: the condition has it with MariaDB's own error.
async fn bad_sql(stage: &Stage) -> Result<()> {
    let spec = |sql: &str| {
        json!({
            "replicas": 1, "storage": {"size": "1Gi"}, "proxy": {"replicas": 1},
            "databases": [{"name": "good", "initSql": "CREATE TABLE t (id INT PRIMARY KEY)"}, {"name": "bad", "initSql": sql}],
        })
    };
    let cluster = Cluster::apply(stage, "sql", spec("CREATE TABEL t (id INT PRIMARY KEY)")).await?;
    let refused = cluster.condition("SchemaApplied", "False", "SchemaRefused", READY_DEADLINE).await?;
    println!("    {}", refused.message);
    for part in ["spec.databases[1].initSql", "CREATE TABEL", "1064"] {
        ensure!(refused.message.contains(part), "{part} is missing: {}", refused.message);
    }
    cluster.condition("Accepted", "True", "SpecAccepted", SOON).await?;
    let tables = cluster.sql(0, "SHOW TABLES FROM good").await?;
    ensure!(tables == ["t"], "the other database has {tables:?}");
    for (sql, error) in [
        // Nobody reads with the server's eyes what is mounted for its manager.
        (
            "CREATE TABLE loot (line TEXT); LOAD DATA INFILE '/etc/quartet/admin/token' INTO TABLE loot",
            "1290",
        ),
        // Its rows would stay on one member.
        ("CREATE TABLE local (id INT PRIMARY KEY) ENGINE=MyISAM", "4165"),
    ] {
        Cluster::apply(stage, "sql", spec(sql)).await?;
        let refused = cluster.wait_status("the error of MariaDB", SOON, |status| {
            let refused = is(status, "SchemaApplied", "False", "SchemaRefused")?;
            ensure!(refused.message.contains(error), "{}", refused.message);
            Ok(())
        });
        refused.await.with_context(|| sql.to_owned())?;
    }
    Cluster::apply(stage, "sql", spec("CREATE TABLE t (id INT PRIMARY KEY)")).await?;
    cluster.ready(READY_DEADLINE).await.map(drop)
}

async fn missing_secret(stage: &Stage) -> Result<()> {
    let spec = json!({
        "replicas": 1, "storage": {"size": "1Gi"}, "proxy": {"replicas": 1}, "databases": [{"name": "d"}],
        "users": [{"name": "app", "database": "d", "passwordSecretRef": {"name": "nowhere", "key": "password"}}],
    });
    let cluster = Cluster::apply(stage, "secret", spec).await?;
    let refused = cluster.condition("Accepted", "False", "SecretNotFound", SOON).await?;
    ensure!(refused.message.contains("nowhere"), "it does not name the Secret: {}", refused.message);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "nowhere"}, "stringData": {"password": "here now"},
    });
    stage.apply(&secret.to_string()).await?;
    cluster.ready(READY_DEADLINE).await.map(drop)
}
