//! Can kind's published node image be had?

use std::time::Duration;

use tokio::net::TcpStream;

use crate::command::Command;

const HOST: &str = "registry-1.docker.io:443";
const REPOSITORY: &str = "docker.io/kindest/node";
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// Whether the registry answers for that tag: a connection alone may end at a proxy that refuses everything.
pub async fn reachable(tag: &str) -> bool {
    let connected = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(HOST)).await;
    // Behind an HTTP proxy the direct connection says nothing; ask through Docker, which knows the proxy.
    let proxied = ["HTTPS_PROXY", "https_proxy"].iter().any(|name| std::env::var_os(name).is_some());
    if !proxied && !matches!(connected, Ok(Ok(_))) {
        return false;
    }
    Command::new("docker")
        .args(["manifest", "inspect", &format!("{REPOSITORY}:{tag}")])
        .deadline(ANSWER_DEADLINE)
        .succeeds()
        .await
}
