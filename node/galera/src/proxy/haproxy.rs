//! HAProxy's processes: a master, which is ours, and its workers.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::control::{self, Control, Processes};

const CHECK_DEADLINE: Duration = Duration::from_secs(10);
/// From the signal until a new worker serves.
const RELOAD_DEADLINE: Duration = Duration::from_secs(10);
const STOP_DEADLINE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
const SAID_MAX: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("run {program}")]
    Run {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("HAProxy refuses its settings: {0}")]
    Refused(String),
    #[error("signal HAProxy")]
    Signal(#[source] rustix::io::Errno),
    #[error("HAProxy has not begun within {} s", RELOAD_DEADLINE.as_secs())]
    Deadline(#[source] Option<control::Error>),
    #[error("keep the state of the members")]
    State(#[source] control::Error),
    #[error("wait for HAProxy")]
    Wait(#[source] io::Error),
}

/// Files of one HAProxy.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) program: PathBuf,
    pub(super) dir: PathBuf,
}

impl Files {
    fn settings(&self) -> PathBuf {
        self.dir.join("haproxy.cfg")
    }

    fn control(&self) -> PathBuf {
        self.dir.join("master.sock")
    }

    /// What is known of the members, for a worker that begins (`server-state-file`).
    fn servers(&self) -> PathBuf {
        self.dir.join("servers")
    }
}

#[derive(Debug)]
pub(super) struct Haproxy {
    files: Files,
    master: Child,
    control: Control,
}

impl Haproxy {
    /// Starts it; returns when its worker answers.
    pub(super) async fn start(files: Files, settings: &str) -> Result<Self, Error> {
        // Of an earlier start of this container: nothing is known of the members yet.
        write(&files.servers(), "1\n")?;
        write(&files.settings(), settings)?;
        let mut command = Command::new(&files.program);
        command.args(["-W", "-db", "-S"]).arg(format!("{},mode,600", files.control().display()));
        command.arg("-f").arg(files.settings()).stdin(Stdio::null()).kill_on_drop(true);
        let run = |source| Error::Run { program: files.program.clone(), source };
        let master = command.spawn().map_err(run)?;
        let control = Control::new(files.control());
        let mut haproxy = Self { files, master, control };
        haproxy.begun(&Processes::default()).await?;
        Ok(haproxy)
    }

    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    /// Puts settings into force in a new worker, unless HAProxy finds a fault in them. The workers of before serve
    /// their connections until these end.
    pub(super) async fn reload(&mut self, settings: &str) -> Result<(), Error> {
        let candidate = self.files.dir.join("candidate.cfg");
        write(&candidate, settings)?;
        self.check(&candidate).await?;
        let known = self.control.server_states().await.map_err(Error::State)?;
        write(&self.files.servers(), &known)?;
        let path = self.files.settings();
        std::fs::rename(&candidate, &path).map_err(|source| Error::Write { path, source })?;
        let before = self.control.processes().await.map_err(Error::State)?;
        self.signal(Signal::USR2)?;
        self.begun(&before).await
    }

    async fn check(&self, settings: &Path) -> Result<(), Error> {
        let mut command = Command::new(&self.files.program);
        command.args(["-c", "-q", "-f"]).arg(settings).stdin(Stdio::null()).kill_on_drop(true);
        let run = |source| Error::Run { program: self.files.program.clone(), source };
        let checked = tokio::time::timeout(CHECK_DEADLINE, command.output()).await;
        let output = checked.map_err(|_| Error::Deadline(None))?.map_err(run)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::Refused(said.trim().chars().take(SAID_MAX).collect()))
    }

    /// Waits until a worker that was not there before answers.
    async fn begun(&mut self, before: &Processes) -> Result<(), Error> {
        let since = Instant::now();
        loop {
            let failure = match self.new_worker_answers(before).await {
                Ok(true) => return Ok(()),
                Ok(false) => None,
                Err(error) => Some(error),
            };
            if let Some(status) = self.master.try_wait().map_err(Error::Wait)? {
                return Err(Error::Refused(format!("it ended with {status}")));
            }
            if since.elapsed() > RELOAD_DEADLINE {
                return Err(Error::Deadline(failure));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn new_worker_answers(&self, before: &Processes) -> Result<bool, control::Error> {
        let now = self.control.processes().await?;
        let is_new = now.current.iter().any(|pid| !before.current.contains(pid));
        if is_new {
            self.control.statistics().await?;
        }
        Ok(is_new)
    }

    /// Waits for its end, which it comes to only by a fault or by [`Self::stop`].
    pub(super) async fn ended(&mut self) -> Result<ExitStatus, Error> {
        self.master.wait().await.map_err(Error::Wait)
    }

    /// Ends all connections.
    pub(super) async fn stop(mut self) -> Result<(), Error> {
        self.signal(Signal::TERM)?;
        if tokio::time::timeout(STOP_DEADLINE, self.master.wait()).await.is_err() {
            self.master.kill().await.map_err(Error::Wait)?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        let pid = self.master.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        // Without an id it has ended and been waited for: whoever waits is told.
        pid.map_or(Ok(()), |pid| kill_process(pid, signal).map_err(Error::Signal))
    }
}

/// Whole or not at all, and readable by nobody else: passwords are in it.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let put = || {
        let partial = path.with_extension("partial");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&partial, path)
    };
    put().map_err(|source| Error::Write { path: path.to_owned(), source })
}
