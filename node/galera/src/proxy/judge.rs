//! Decisions about what HAProxy says; pure.

use super::config::{POOL, WRITER};
use super::state::{Routing, Server};

/// Every member has been checked: what HAProxy says of them is no longer what it assumes.
pub(super) fn all_checked(servers: &[Server]) -> bool {
    // Those of the writer's backend have no checks of their own.
    let mut members = servers.iter().filter(|server| server.backend == POOL).peekable();
    members.peek().is_some() && members.all(|server| server.checked)
}

/// Some member takes connections.
pub(super) fn serves(servers: &[Server]) -> bool {
    servers.iter().any(|server| server.backend == POOL && server.routing == Routing::Up)
}

/// Ordinals of members whose address may have changed: those that are well are where they were.
pub(super) fn lost<'a>(servers: &'a [Server], names: impl Iterator<Item = String> + 'a) -> Vec<usize> {
    let is_up = |name: &str| {
        servers
            .iter()
            .any(|server| server.backend == POOL && server.name == name && server.routing == Routing::Up)
    };
    names.enumerate().filter(|(_, name)| !is_up(name)).map(|(ordinal, _)| ordinal).collect()
}

/// The member that new connections of the single-writer port go to.
pub(super) fn writer(servers: &[Server]) -> Option<&Server> {
    // HAProxy lists servers as they are configured: by ordinal.
    servers.iter().find(|server| server.backend == WRITER && server.routing == Routing::Up)
}

/// Servers whose connections are to end, judged by the worker that runs the checks.
///
/// HAProxy ends a server's connections when it goes down, but not everywhere: a worker of before a reload no longer
/// checks anything, and backups that come back leave connections on backups after them. Connections of a member that
/// drains are that member's to end.
pub(super) fn to_close(servers: &[Server]) -> Vec<&Server> {
    let writer = writer(servers).map(|server| server.name.as_str());
    let must_close = |server: &Server| match server.routing {
        Routing::Down => true,
        Routing::Draining => false,
        Routing::Up => server.backend == WRITER && writer != Some(server.name.as_str()),
    };
    servers.iter().filter(|server| must_close(server)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Routing::{Down, Draining, Up};

    fn servers(routings: &[Routing]) -> Vec<Server> {
        let server = |backend: &str, ordinal: usize, routing| Server {
            backend: backend.into(),
            name: format!("shop-{ordinal}"),
            routing,
            checked: true,
            sessions: 0,
        };
        let of = |backend| routings.iter().enumerate().map(move |(n, routing)| server(backend, n, *routing));
        of(POOL).chain(of(WRITER)).collect()
    }

    fn closed(routings: &[Routing]) -> Vec<String> {
        to_close(&servers(routings)).into_iter().map(Server::title).collect()
    }

    #[test]
    fn nobody_is_served_while_a_member_is_unchecked() {
        let mut all = servers(&[Up, Down]);
        assert!(all_checked(&all));
        all[1].checked = false;
        assert!(!all_checked(&all));
        assert!(!all_checked(&[]));
    }

    #[test]
    fn a_proxy_without_a_member_that_takes_connections_does_not_serve() {
        assert!(serves(&servers(&[Down, Up])));
        assert!(!serves(&servers(&[Down, Draining])));
    }

    #[test]
    fn the_writer_is_the_first_that_takes_connections() {
        for (routings, expected) in [
            ([Up, Up, Up], Some("shop-0")),
            ([Draining, Up, Up], Some("shop-1")),
            ([Down, Draining, Up], Some("shop-2")),
            ([Down, Draining, Down], None),
        ] {
            let all = servers(&routings);
            assert_eq!(writer(&all).map(|server| server.name.as_str()), expected, "{routings:?}");
        }
    }

    #[test]
    fn connections_end_on_members_that_are_down_and_on_all_writers_but_one() {
        assert_eq!(closed(&[Up, Up]), ["writer/shop-1"]);
        assert_eq!(closed(&[Down, Up, Up]), ["members/shop-0", "writer/shop-0", "writer/shop-2"]);
        assert_eq!(closed(&[Draining, Up, Up]), ["writer/shop-2"]);
    }

    /// Over all states of three members: never two that may write, but for one that drains; and no member that takes
    /// connections loses any in the pool.
    #[test]
    fn never_two_writers() {
        for number in 0..27 {
            let routings = [1, 3, 9].map(|place| [Up, Draining, Down][number / place % 3]);
            let closed = closed(&routings);
            let kept = |backend: &str, n: usize| !closed.contains(&format!("{backend}/shop-{n}"));
            let writers = (0..3).filter(|n| routings[*n] == Up && kept(WRITER, *n)).count();
            assert_eq!(writers, usize::from(routings.contains(&Up)), "{routings:?}");
            assert!((0..3).all(|n| kept(POOL, n) == (routings[n] != Down)), "{routings:?}");
            assert!((0..3).all(|n| routings[n] != Draining || kept(WRITER, n)), "{routings:?}");
        }
    }

    #[test]
    fn an_address_is_asked_for_again_while_its_member_is_not_up() {
        let all = servers(&[Up, Down, Draining]);
        let names = (0..4).map(|n| format!("shop-{n}"));
        assert_eq!(lost(&all, names), [1, 2, 3]);
    }
}
