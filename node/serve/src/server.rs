//! An HTTP server: with so many connections at most, none of them held for nothing, and an end that leaves nobody
//! without an answer.
//!
//! axum's own has none of these bounds: a node's ports are served by this one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::Refusal;
use crate::body::BYTES_MAX;

/// At the operator's port: nobody but the operator has a use for it, and it asks one thing at a time.
pub const OPERATORS_CONNECTIONS_MAX: usize = 64;
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How long a client may keep a connection waiting for it. What the server does itself (a wait for a lock, say) has
/// its own bounds.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// From the end of a request, or from the beginning, until the next one's head is there.
    head: Duration,
    /// Until all of a body is there.
    body: Duration,
    /// Until it takes what is sent to it.
    answer: Duration,
}

impl Patience {
    /// Idle connections end later than clients usually keep them (90 s in Go's and reqwest's pools), so that a
    /// request seldom meets the end of its connection.
    const DEFAULT: Self =
        Self { head: Duration::from_mins(2), body: Duration::from_secs(30), answer: Duration::from_secs(30) };
}

/// A listening port. A connection is accepted only while there is room for one; the others wait in the kernel, or are
/// refused by it.
#[derive(Debug)]
pub struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Bounded {
    pub async fn bind(address: SocketAddr, connections_max: usize) -> Result<Self, ListenError> {
        let listener = TcpListener::bind(address).await.map_err(|source| ListenError { address, source })?;
        Ok(Self { listener, places: Arc::new(Semaphore::new(connections_max)) })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Dropped, it ends as if it were told to stop, and nobody waits for it.
#[derive(Debug)]
pub struct Server {
    finish: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    pub fn start(listener: Bounded, router: Router) -> Self {
        Self::with_patience(listener, router, Patience::DEFAULT)
    }

    fn with_patience(listener: Bounded, router: Router, patience: Patience) -> Self {
        let (finish, told) = watch::channel(false);
        let router = router.layer(middleware::from_fn_with_state(patience, whole_body));
        let task = tokio::spawn(serve(listener, router, patience, told));
        Self { finish, task }
    }

    /// Takes no more connections, answers what is under way, and ends; what takes longer is cut off.
    pub async fn stop(mut self, within: Duration) {
        self.finish.send_replace(true);
        if tokio::time::timeout(within, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Until told to finish and everybody is answered. Dropped, it cuts off all connections.
async fn serve(bounded: Bounded, router: Router, patience: Patience, mut told: watch::Receiver<bool>) {
    let Bounded { listener, places } = bounded;
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            // Never closed, hence never an error; without a place it would not count, and is served all the same.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = finishes(&mut told) => break,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = connection(stream, router.clone(), patience, told.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // The connection ended before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, router: Router, patience: Patience, mut told: watch::Receiver<bool>) {
    if let Err(error) = prepare(&stream, patience) {
        tracing::debug!(%error, "cannot set up a connection");
    }
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = finishes(&mut told) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection has ended early");
    }
}

/// Until told to; or whoever could tell has gone, and so has the server.
async fn finishes(told: &mut watch::Receiver<bool>) {
    let _ = told.wait_for(|finish| *finish).await;
}

fn prepare(stream: &TcpStream, patience: Patience) -> io::Result<()> {
    // An answer is one small write: nothing is won by waiting for more.
    stream.set_nodelay(true)?;
    let answer_ms = u32::try_from(patience.answer.as_millis()).unwrap_or(u32::MAX);
    Ok(set_tcp_user_timeout(stream, answer_ms)?)
}

/// Lets a request begin once all of it is there; of a body that is too long, as much as shows it.
async fn whole_body(State(patience): State<Patience>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let reading = async {
        let (mut pieces, mut whole) = (body.into_data_stream(), Vec::new());
        while let Some(piece) = pieces.next().await {
            whole.extend_from_slice(&piece?);
            if whole.len() > BYTES_MAX {
                break;
            }
        }
        Ok::<_, axum::Error>(whole)
    };
    match tokio::time::timeout(patience.body, reading).await {
        Ok(Ok(whole)) => next.run(Request::from_parts(head, Body::from(whole))).await,
        Ok(Err(error)) => Refusal::bad_request(format!("the body cannot be read: {error}")).into_response(),
        Err(_) => {
            let message = format!("the body did not arrive within {} s", patience.body.as_secs());
            let refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message, true);
            let mut response = refusal.into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);
    const IMPATIENT: Patience = Patience { head: SHORT, body: SHORT, answer: SHORT };
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    async fn start(router: Router, connections_max: usize, patience: Patience) -> (Server, SocketAddr) {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Bounded::bind(any, connections_max).await.unwrap();
        let address = listener.listener.local_addr().unwrap();
        (Server::with_patience(listener, router, patience), address)
    }

    async fn connect(address: SocketAddr, sends: &[u8]) -> TcpStream {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(sends).await.unwrap();
        connection
    }

    async fn status(connection: &mut TcpStream) -> String {
        let mut head = [0; 12];
        connection.read_exact(&mut head).await.unwrap();
        String::from_utf8_lossy(&head).into_owned()
    }

    /// Everything up to the end of the connection.
    async fn rest(connection: &mut TcpStream) -> String {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), connection.read_to_end(&mut rest));
        read.await.unwrap().unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" })).route("/", post(|body: String| async { body }))
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_waits_until_another_ends() {
        let (_server, address) = start(hello(), 1, Patience::DEFAULT).await;
        let mut first = connect(address, GET).await;
        assert_eq!(status(&mut first).await, "HTTP/1.1 200");
        let mut second = connect(address, GET).await;
        let early = tokio::time::timeout(Duration::from_millis(200), status(&mut second)).await;
        assert!(early.is_err(), "there was no room for it");
        drop(first);
        assert_eq!(status(&mut second).await, "HTTP/1.1 200");
    }

    #[tokio::test]
    async fn whoever_sends_nothing_or_half_a_head_or_stays_idle_is_cut_off() {
        let (_server, address) = start(hello(), 3, IMPATIENT).await;
        for sends in [&b""[..], b"GET / HT", &GET[..GET.len() - 2]] {
            assert_eq!(rest(&mut connect(address, sends).await).await, "");
        }
        let answered = rest(&mut connect(address, GET).await).await;
        assert!(answered.starts_with("HTTP/1.1 200") && answered.ends_with("hello"), "{answered}");
    }

    #[tokio::test]
    async fn half_a_body_is_answered_with_408_and_cut_off() {
        let (_server, address) = start(hello(), 1, IMPATIENT).await;
        let half = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";
        let answered = rest(&mut connect(address, half).await).await;
        assert!(answered.starts_with("HTTP/1.1 408") && answered.contains("body_timeout"), "{answered}");
        let whole = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        let answered = rest(&mut connect(address, whole).await).await;
        assert!(answered.starts_with("HTTP/1.1 200") && answered.ends_with("hello"), "{answered}");
    }

    #[tokio::test]
    async fn a_body_that_drips_is_cut_off_too() {
        let (_server, address) = start(hello(), 1, IMPATIENT).await;
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
        let (mut answers, mut drip) = connect(address, head).await.into_split();
        let mut piece = tokio::time::interval(SHORT / 10);
        let dripping = async {
            while drip.write_all(b"x").await.is_ok() {
                piece.tick().await;
            }
            std::future::pending::<()>().await;
        };
        let mut head = [0; 12];
        let head_bytes = head.len();
        let answered = tokio::time::timeout(Duration::from_secs(20), answers.read_exact(&mut head));
        tokio::select! {
            answered = answered => assert_eq!(answered.unwrap().unwrap(), head_bytes),
            () = dripping => {}
        }
        assert_eq!(&head, b"HTTP/1.1 408");
    }

    #[tokio::test]
    async fn of_a_body_that_is_too_long_no_more_is_read_than_shows_it() {
        let (_server, address) = start(crate::routes::only(hello()), 1, Patience::DEFAULT).await;
        let mut long = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n".to_vec();
        long.resize(long.len() + BYTES_MAX + 1, b'x');
        let answered = tokio::time::timeout(Duration::from_secs(20), async {
            status(&mut connect(address, &long).await).await
        });
        assert_eq!(answered.await.unwrap(), "HTTP/1.1 413");
    }

    #[tokio::test]
    async fn what_the_server_takes_its_time_for_is_not_cut_off() {
        let slow = || async {
            tokio::time::sleep(5 * SHORT).await;
            "after all"
        };
        let (_server, address) = start(Router::new().route("/", get(slow)), 1, IMPATIENT).await;
        let answered = rest(&mut connect(address, GET).await).await;
        assert!(answered.starts_with("HTTP/1.1 200") && answered.ends_with("after all"), "{answered}");
    }

    #[tokio::test]
    async fn a_stop_answers_what_is_under_way_and_ends_what_is_idle() {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go));
        let slow = move || async move {
            tell.notify_one();
            wait.notified().await;
            "done"
        };
        let router = hello().route("/slow", get(slow));
        let (server, address) = start(router, 2, Patience::DEFAULT).await;
        let mut idle = connect(address, GET).await;
        assert_eq!(status(&mut idle).await, "HTTP/1.1 200");
        let mut waits = connect(address, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        begun.notified().await;
        let stopped = tokio::spawn(server.stop(Duration::from_secs(20)));
        rest(&mut idle).await;
        go.notify_one();
        let answered = rest(&mut waits).await;
        assert!(answered.starts_with("HTTP/1.1 200") && answered.ends_with("done"), "{answered}");
        stopped.await.unwrap();
    }

    #[tokio::test]
    async fn a_stop_cuts_off_what_takes_too_long() {
        let begun = Arc::new(Notify::new());
        let tell = Arc::clone(&begun);
        let never = move || async move {
            tell.notify_one();
            std::future::pending::<()>().await;
        };
        let (server, address) = start(Router::new().route("/", get(never)), 1, Patience::DEFAULT).await;
        let mut waits = connect(address, GET).await;
        begun.notified().await;
        server.stop(Duration::from_millis(50)).await;
        assert_eq!(rest(&mut waits).await, "");
    }
}
