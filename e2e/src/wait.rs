//! Bounded waits on conditions. Never a sleep in place of one: what is polled decides, the deadline ends it.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

const PAUSE: Duration = Duration::from_millis(250);
/// One look: an API server that is away must not hang the wait.
const LOOK_DEADLINE: Duration = Duration::from_secs(30);

/// Looks until it is so. The error of a look says what is still missing; the last one is shown at the deadline.
pub async fn until<T>(what: &str, deadline: Duration, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let (started, mut before) = (Instant::now(), None);
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        let seen = match tokio::time::timeout(LOOK_DEADLINE.min(left.max(PAUSE)), look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            // What was seen before the last look says more than that there was no time for it.
            Err(_) => before.take().unwrap_or_else(|| anyhow!("looking took too long")),
        };
        if started.elapsed() >= deadline {
            return Err(anyhow!("waited {deadline:?} for {what}; last seen: {seen:#}"));
        }
        before = Some(seen);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks for the whole time and fails at the first look that does: what must not change.
pub async fn throughout(
    what: &str,
    period: Duration,
    mut look: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < period {
        if let Err(error) = look().await {
            return Err(anyhow!("{what} held for {:?} only: {error:#}", started.elapsed()));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::{bail, ensure};

    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_it_is_so() {
        let mut looks = 0;
        let value = until("the third look", Duration::from_secs(10), async || {
            looks += 1;
            ensure!(looks == 3, "look {looks}");
            Ok(looks)
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_wait_in_vain_says_what_it_saw_last() {
        let error =
            until("a miracle", Duration::from_millis(1), async || -> Result<()> { bail!("nothing yet") });
        let said = error.await.unwrap_err().to_string();
        assert!(said.contains("a miracle") && said.contains("nothing yet"), "{said}");
    }

    #[tokio::test]
    async fn a_hung_look_ends_at_the_deadline() {
        let error = until("an answer", Duration::from_millis(1), async || -> Result<()> {
            std::future::pending().await
        });
        assert!(error.await.is_err());
    }
}
