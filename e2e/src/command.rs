//! Programs that the harness runs: every one has a deadline, its output is either taken or kept in a file, and when
//! the harness is done with it, ends or is ended, so does whatever the program had started.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::process::Child;

const DEFAULT_DEADLINE: Duration = Duration::from_mins(1);
const TAIL_LINES: usize = 25;
const TAIL_BYTES: u64 = 16 * 1024;

#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot run `{command}`")]
    Start {
        command: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{command}` did not end within {deadline:?}\n{tail}")]
    Deadline { command: String, deadline: Duration, tail: String },
    #[error("`{command}` failed: {status}\n{tail}")]
    Failed { command: String, status: ExitStatus, tail: String },
    #[error("cannot keep the output of `{command}` in {path}")]
    Log {
        command: String,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// A program with its arguments; consumed by running it.
#[must_use = "a command does nothing until it is run"]
#[derive(Debug)]
pub struct Command {
    inner: tokio::process::Command,
    words: Vec<OsString>,
    input: Input,
    deadline: Duration,
}

#[derive(Debug)]
enum Input {
    None,
    File(PathBuf),
}

impl Command {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut inner = tokio::process::Command::new(program.as_ref());
        inner.kill_on_drop(true).stdin(Stdio::null());
        Self {
            inner,
            words: vec![program.as_ref().to_owned()],
            input: Input::None,
            deadline: DEFAULT_DEADLINE,
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.words.push(arg.as_ref().to_owned());
        self.inner.arg(arg.as_ref());
        self
    }

    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(self, args: I) -> Self {
        args.into_iter().fold(self, Command::arg)
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.inner.current_dir(dir);
        self
    }

    pub fn input_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.input = Input::File(path.into());
        self
    }

    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it and returns what it wrote to its standard output.
    pub async fn text(mut self) -> Result<String, Error> {
        let command = self.line();
        self.open_input(&command)?;
        self.inner.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = |source| Error::Start { command: command.clone(), source };
        let mut group = Group::spawn(&mut self.inner).map_err(started)?;
        let ended = match tokio::time::timeout(self.deadline, group.output()).await {
            Err(_) => {
                return Err(Error::Deadline { command, deadline: self.deadline, tail: String::new() });
            }
            Ok(result) => result.map_err(started)?,
        };
        let (status, mut said, errors) = ended;
        if status.success() {
            return Ok(String::from_utf8_lossy(&said).into_owned());
        }
        said.extend_from_slice(&errors);
        Err(Error::Failed { command, status, tail: tail(&String::from_utf8_lossy(&said)) })
    }

    /// Runs it with all output appended to a file, the end of which is shown when it fails.
    pub async fn logged(mut self, log: &Path) -> Result<(), Error> {
        let command = self.line();
        self.open_input(&command)?;
        let mut file = open_log(log, &command)?;
        let kept = |source| Error::Log { command: command.clone(), path: log.to_path_buf(), source };
        let from = file.metadata().map_err(kept)?.len();
        writeln!(file, "$ {command}").map_err(kept)?;
        self.inner.stdout(file.try_clone().map_err(kept)?);
        self.inner.stderr(file);
        let started = |source| Error::Start { command: command.clone(), source };
        let mut group = Group::spawn(&mut self.inner).map_err(started)?;
        let ended = tokio::time::timeout(self.deadline, group.child.wait()).await;
        let tail = || format!("{}\n(all of it: {})", tail_of(log, from), log.display());
        match ended {
            Err(_) => Err(Error::Deadline { deadline: self.deadline, tail: tail(), command }),
            Ok(Err(source)) => Err(Error::Start { command, source }),
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Error::Failed { status, tail: tail(), command }),
        }
    }

    /// Runs it with our own terminal, and in our own process group, so that the terminal's Ctrl-C reaches it; returns
    /// its exit code (128 and more when a signal ended it).
    pub async fn passed_through(mut self) -> Result<u8, Error> {
        let command = self.line();
        self.inner.stdin(Stdio::inherit());
        let status = self.inner.status().await.map_err(|source| Error::Start { command, source })?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(128))
    }

    /// Whether it ran and succeeded.
    pub async fn succeeds(self) -> bool {
        self.text().await.is_ok()
    }

    fn open_input(&mut self, command: &str) -> Result<(), Error> {
        if let Input::File(path) = &self.input {
            let file = File::open(path).map_err(|source| Error::Start {
                command: format!("{command} < {}", path.display()),
                source,
            })?;
            self.inner.stdin(file);
        }
        Ok(())
    }

    fn line(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        let line = words.join(" ");
        match line.char_indices().nth(200) {
            Some((cut, _)) => format!("{}…", &line[..cut]).replace('\n', " "),
            None => line.replace('\n', " "),
        }
    }
}

/// A program and all that it starts in its process group.
struct Group {
    child: Child,
}

impl Group {
    fn spawn(command: &mut tokio::process::Command) -> std::io::Result<Self> {
        Ok(Self { child: command.process_group(0).spawn()? })
    }

    async fn output(&mut self) -> std::io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let (mut said, mut errors) = (Vec::new(), Vec::new());
        let (mut out, mut err) = (self.child.stdout.take(), self.child.stderr.take());
        let read_out = async {
            match &mut out {
                Some(out) => out.read_to_end(&mut said).await,
                None => Ok(0),
            }
        };
        let read_err = async {
            match &mut err {
                Some(err) => err.read_to_end(&mut errors).await,
                None => Ok(0),
            }
        };
        let (status, ..) = tokio::try_join!(self.child.wait(), read_out, read_err)?;
        Ok((status, said, errors))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // None once it has been waited for: its number may be another's by now.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = id {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

/// Whether a program of that name is in the search path.
pub fn in_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn open_log(log: &Path, command: &str) -> Result<File, Error> {
    let open = || {
        if let Some(dir) = log.parent() {
            std::fs::create_dir_all(dir)?;
        }
        OpenOptions::new().create(true).append(true).open(log)
    };
    open().map_err(|source| Error::Log { command: command.to_owned(), path: log.to_path_buf(), source })
}

fn tail_of(log: &Path, from: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map_or_else(|error| error.to_string(), |text| tail(&text))
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("quartet-{}-{name}.log", uuid::Uuid::new_v4()));
        assert!(!path.exists());
        path
    }

    #[tokio::test]
    async fn output_is_returned() {
        assert_eq!(Command::new("echo").arg("a b").text().await.unwrap(), "a b\n");
    }

    #[tokio::test]
    async fn a_failure_shows_the_command_and_the_end_of_its_own_output() {
        let path = log("failure");
        std::fs::write(&path, "of an earlier run\n").unwrap();
        let error = Command::new("sh").args(["-c", "seq 100; exit 3"]).logged(&path).await.unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("sh -c") && said.contains("exit status: 3") && said.contains("| 100"),
            "{said}"
        );
        assert!(!said.contains("earlier") && !said.contains("| 50\n"), "{said}");
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn what_a_program_started_ends_with_it() {
        let path = log("group");
        let script = format!("tail -f /dev/null & echo $! > {}; wait", path.display());
        let run = Command::new("sh").args(["-c", &script]).deadline(Duration::from_millis(300));
        assert!(matches!(run.text().await, Err(Error::Deadline { .. })));
        let pid = std::fs::read_to_string(&path).unwrap();
        let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
        crate::wait::until("its child gone", Duration::from_secs(10), async || {
            // One that nobody reaps is dead all the same.
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            anyhow::ensure!(stat.is_empty() || stat.contains(") Z "), "{stat}");
            Ok(())
        })
        .await
        .unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn a_deadline_ends_the_wait() {
        let started = std::time::Instant::now();
        let run = Command::new("tail").args(["-f", "/dev/null"]).deadline(Duration::from_millis(50));
        assert!(matches!(run.text().await, Err(Error::Deadline { .. })));
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
