//! A port-forward through the API server: for pods that this machine has no route to.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Connections that a forward carries at a time.
const CONNECTIONS: usize = 64;

/// Ends when dropped.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Forward {
    /// Listens on a free port of this machine; each connection becomes a stream to the pod's port.
    pub async fn open(pods: Api<Pod>, pod: &str, port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for the port-forward")?;
        let address = listener.local_addr()?;
        let pod = pod.to_owned();
        let task = tokio::spawn(async move {
            // Dropped with this task, and the connections with it.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                if connections.len() >= CONNECTIONS {
                    continue;
                }
                let (pods, pod) = (pods.clone(), pod.clone());
                connections.spawn(async move {
                    let Ok(mut forwarder) = pods.portforward(&pod, &[port]).await else { return };
                    if let Some(mut stream) = forwarder.take_stream(port) {
                        // Whoever closes first ends it; the client sees that and judges.
                        copy_bidirectional(&mut client, &mut stream).await.ok();
                    }
                });
            }
        });
        Ok(Self { address, task })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}
