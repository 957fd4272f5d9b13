//! What a run is doing and how long each step took.

use std::future::Future;
use std::time::Instant;

use anyhow::{Context, Result};

#[derive(Debug)]
pub struct Progress {
    began: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self { began: Instant::now() }
    }
}

impl Progress {
    /// Runs one step: says its title, then its outcome with the time that it took.
    pub async fn step<T>(&self, title: &str, work: impl Future<Output = Result<(T, String)>>) -> Result<T> {
        println!("==> {title}");
        let started = Instant::now();
        let (value, outcome) =
            work.await.with_context(|| format!("step \"{title}\" failed after {}", seconds(started)))?;
        println!("    [{}] {outcome}", seconds(started));
        Ok(value)
    }

    /// A note inside a step.
    pub fn note(&self, text: &str) {
        println!("    {text}");
    }

    /// A note with the time since `since`.
    pub fn took(&self, since: Instant, text: &str) {
        println!("    [{}] {text}", seconds(since));
    }

    pub fn finish(&self, text: &str) {
        println!("==> [{}] {text}", seconds(self.began));
    }
}

pub fn seconds(since: Instant) -> String {
    format!("{:.1}s", since.elapsed().as_secs_f64())
}
