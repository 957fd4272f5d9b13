//! Can published images be had?

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::command::Command;

const HOST: &str = "registry-1.docker.io:443";
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// Whether the registry answers for that image.
pub async fn reachable(image: &str) -> bool {
    let proxied = ["HTTPS_PROXY", "https_proxy"].iter().any(|name| std::env::var_os(name).is_some());
    let connects = async {
        let connected = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(HOST)).await;
        matches!(connected, Ok(Ok(_)))
    };
    let asked = Command::new("docker").args(["manifest", "inspect", image]).deadline(ANSWER_DEADLINE);
    decide(proxied, connects, asked.succeeds()).await
}

/// Behind an HTTP proxy the direct connection says nothing; Docker, which knows the proxy, is asked at once. A
/// connection alone is not enough: it may end at somebody who refuses everything.
async fn decide(
    proxied: bool,
    connects: impl Future<Output = bool>,
    answers: impl Future<Output = bool>,
) -> bool {
    (proxied || connects.await) && answers.await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_registry_is_there_when_it_answers_for_the_image() {
        assert!(decide(false, ready(true), ready(true)).await);
        assert!(decide(true, pending(), ready(true)).await, "a proxy needs no direct connection");
    }

    #[tokio::test]
    async fn without_an_answer_the_node_image_is_built() {
        assert!(!decide(false, ready(false), pending()).await, "without a connection nobody is asked");
        assert!(!decide(false, ready(true), ready(false)).await);
        assert!(!decide(true, ready(false), ready(false)).await);
    }
}
