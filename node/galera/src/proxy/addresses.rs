//! Where the members are.

use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::lookup_host;

const LOOK_UP_DEADLINE: Duration = Duration::from_secs(2);

/// Addresses of those of the hosts that have one now, by their place in the list.
pub(super) async fn look_up(hosts: &[String], which: &[usize]) -> Vec<(usize, IpAddr)> {
    let found = which.iter().filter_map(|place| Some((*place, hosts.get(*place)?)));
    let found = found.map(async |(place, host)| Some((place, look_up_one(host).await?)));
    join_all(found).await.into_iter().flatten().collect()
}

/// None as well when the answer takes too long: it is asked again.
async fn look_up_one(host: &str) -> Option<IpAddr> {
    let asked = tokio::time::timeout(LOOK_UP_DEADLINE, lookup_host((host, 0))).await;
    Some(asked.ok()?.ok()?.next()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_that_does_not_exist_keeps_nobody_else_from_being_found() {
        let hosts = ["127.0.0.7", "no such host", "::1"].map(str::to_owned);
        let found = look_up(&hosts, &[0, 1, 2, 3]).await;
        assert_eq!(found, [(0, "127.0.0.7".parse().unwrap()), (2, "::1".parse().unwrap())]);
        assert!(look_up(&hosts, &[]).await.is_empty());
    }
}
