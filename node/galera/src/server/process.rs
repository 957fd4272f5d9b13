//! One process of the server, from its start to its end.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use super::logs::{Tail, forward};
use super::{Children, PATH, PROGRAM};
use crate::examine::recovered;

#[derive(Debug, thiserror::Error)]
#[error("cannot start {program}")]
pub struct SpawnError {
    pub program: &'static str,
    pub source: io::Error,
}

/// How a server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub how: String,
    /// Its first errors.
    pub errors: Option<String>,
    /// Galera refused to join, since this data holds what the others' does not.
    pub ahead: bool,
}

/// A process that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    signals: mpsc::Sender<Signal>,
}

impl Server {
    /// The receiver tells of its end.
    pub fn spawn(
        children: &Children,
        config: &Path,
        arguments: &[String],
    ) -> Result<(Self, oneshot::Receiver<Ended>), SpawnError> {
        let mut command = Command::new(PROGRAM);
        command
            .arg(format!("--defaults-file={}", config.display()))
            .args(arguments)
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What the terminal sends goes to the manager alone.
            .process_group(0)
            .kill_on_drop(true);
        let child = children.spawn(&mut command).map_err(|source| SpawnError { program: PROGRAM, source })?;
        let (signals, wanted) = mpsc::channel(4);
        let (tell, told) = oneshot::channel();
        let children = children.clone();
        tokio::spawn(async move {
            let ended = attend(child, wanted, &children).await;
            // Nobody asks when the manager ends.
            let _ = tell.send(ended);
        });
        Ok((Self { signals }, told))
    }

    /// Nothing runs.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { signals: mpsc::channel(1).0 }
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Full: it has been told often enough. Closed: it has ended.
        let _ = self.signals.try_send(signal);
    }
}

async fn attend(mut child: Child, mut wanted: mpsc::Receiver<Signal>, children: &Children) -> Ended {
    let (tail, id) = (Tail::default(), child.id());
    for output in
        [child.stdout.take().map(either_out), child.stderr.take().map(either_err)].into_iter().flatten()
    {
        tokio::spawn(forward(output, tail.clone()));
    }
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            signal = wanted.recv() => {
                // Nobody holds it any more: it ends too.
                let signal = signal.unwrap_or(Signal::KILL);
                let process = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
                if let Some(process) = process {
                    let _ = kill_process(process, signal);
                }
                if signal == Signal::KILL {
                    break child.wait().await;
                }
            }
        }
    };
    children.forget(id);
    let lines = tail.lines();
    Ended {
        how: how(status),
        errors: recovered::errors(lines.iter().map(String::as_str)),
        ahead: lines.iter().any(|line| line.contains(AHEAD)),
    }
}

/// What Galera says when the data holds more than the group knows of.
const AHEAD: &str = "Reversing history";

type Output = Box<dyn tokio::io::AsyncRead + Send + Unpin>;

fn either_out(output: tokio::process::ChildStdout) -> Output {
    Box::new(output)
}

fn either_err(output: tokio::process::ChildStderr) -> Output {
    Box::new(output)
}

pub(super) fn how(status: io::Result<ExitStatus>) -> String {
    // `exit status: 1`, `signal: 9 (SIGKILL)`.
    status.map_or_else(|error| format!("it cannot be waited for: {error}"), |status| status.to_string())
}

impl Ended {
    /// The task that waited for it has gone.
    pub(crate) fn unknown() -> Self {
        Self { how: "it is not known how".into(), errors: None, ahead: false }
    }
}
