//! The sockets: one listener per node on the loopback, one task per connection.
//!
//! A connection is served one request at a time, as a broker mutes it (`SocketServer`), so answers are in order
//! and a waiting fetch holds back what is behind it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::core::{Broker, Call, ConnectionId, NodeId, Outcome};
use crate::frame::{self, Incoming, Pieces};

/// How often timeouts of groups and transactions are looked at.
const TICK: Duration = Duration::from_millis(100);

/// What the connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    max_request_bytes: usize,
}

#[derive(Debug)]
struct State {
    broker: Broker,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: ConnectionId,
}

#[derive(Debug)]
struct Connection {
    node: NodeId,
    wake: Arc<Notify>,
    task: Option<AbortHandle>,
}

impl Shared {
    pub(crate) fn new(broker: Broker, max_request_bytes: usize) -> Self {
        let state = State { broker, connections: BTreeMap::new(), next_connection: 1 };
        Self { state: Mutex::new(state), max_request_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the cluster and wakes whoever can go on because of it.
    pub(crate) fn with<R>(&self, action: impl FnOnce(&mut Broker, i64) -> R) -> R {
        let mut state = self.lock();
        let result = action(&mut state.broker, now_ms());
        for id in state.broker.take_woken() {
            if let Some(connection) = state.connections.get(&id) {
                connection.wake.notify_one();
            }
        }
        result
    }

    /// Closes the connections of a node, or all.
    pub(crate) fn close_connections(&self, node: Option<NodeId>) {
        let state = self.lock();
        let concerned = state.connections.values().filter(|c| node.is_none_or(|id| id == c.node));
        for task in concerned.filter_map(|connection| connection.task.as_ref()) {
            task.abort();
        }
    }

    fn register(&self, node: NodeId) -> Option<(ConnectionId, Arc<Notify>)> {
        let mut state = self.lock();
        if !state.broker.is_alive(node) {
            return None;
        }
        let id = state.next_connection;
        state.next_connection += 1;
        let wake = Arc::new(Notify::new());
        let connection = Connection { node, wake: wake.clone(), task: None };
        state.connections.insert(id, connection);
        Some((id, wake))
    }

    fn started(&self, id: ConnectionId, task: AbortHandle) {
        let mut state = self.lock();
        let node = match state.connections.get_mut(&id) {
            Some(connection) => {
                connection.task = Some(task.clone());
                connection.node
            }
            None => return,
        };
        if !state.broker.is_alive(node) {
            task.abort();
        }
    }
}

/// Forgets a connection when its task ends, however it ends.
struct Registration {
    shared: Arc<Shared>,
    id: ConnectionId,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.connections.remove(&self.id);
        state.broker.disconnected(self.id);
    }
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the shell reads the clock for the pure core")]
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Accepts connections of a node until it is aborted. A node that is down keeps its port and closes at once.
pub(crate) async fn accept(shared: Arc<Shared>, node: NodeId, listener: TcpListener) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(node, %error, "accept failed");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Some((id, wake)) = shared.register(node) else { continue };
        let registration = Registration { shared: shared.clone(), id };
        let task = tokio::spawn(async move {
            let shared = registration.shared.clone();
            let served = Server { shared, node, id, wake, stream }.run().await;
            if let Err(error) = served {
                tracing::debug!(node, id, %error, "connection ended");
            }
            drop(registration);
        });
        shared.started(id, task.abort_handle());
    }
}

/// Lets time pass for groups and transactions until it is aborted.
pub(crate) async fn tick(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(TICK).await;
        shared.with(Broker::tick);
    }
}

struct Server {
    shared: Arc<Shared>,
    node: NodeId,
    id: ConnectionId,
    wake: Arc<Notify>,
    stream: TcpStream,
}

impl Server {
    async fn run(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let profile = self.shared.lock().broker.profile();
        let mut buffer = BytesMut::new();
        while let Some(size) = self.read_size().await? {
            buffer.reserve(size);
            let mut frame = (&mut self.stream).take(size as u64);
            while buffer.len() < size {
                if frame.read_buf(&mut buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let frame = buffer.split_to(size).freeze();
            let incoming = frame::decode(frame, profile).map_err(io::Error::other)?;
            if !self.serve(incoming, profile).await? {
                break;
            }
        }
        Ok(())
    }

    async fn read_size(&mut self) -> io::Result<Option<usize>> {
        let size = match self.stream.read_i32().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        };
        match usize::try_from(size) {
            Ok(size) if size <= self.shared.max_request_bytes => Ok(Some(size)),
            _ => Err(io::Error::other(format!("a request of {size} bytes is not taken"))),
        }
    }

    /// Serves one request; false ends the connection.
    async fn serve(
        &mut self,
        incoming: Incoming,
        profile: crate::core::versions::Profile,
    ) -> io::Result<bool> {
        let Incoming { api, version, correlation_id, client_id, request } = incoming;
        let encode = |response| {
            frame::encode(api, version, correlation_id, response).map_err(|what| {
                tracing::error!(?api, version, what, "an answer could not be encoded");
                io::Error::other(what)
            })
        };
        let Some(request) = request else {
            return self.send(encode(frame::unsupported(profile))?).await;
        };
        let mut call = Call::new(self.node, self.id, api, version);
        call.client_id = client_id;
        let mut outcome = self.shared.with(|broker, now| broker.handle(now, call, request));
        loop {
            match outcome {
                Outcome::Reply(response) => return self.send(encode(response)?).await,
                Outcome::NoReply => return Ok(true),
                Outcome::Close => return Ok(false),
                Outcome::Silent => return self.discard_input().await,
                Outcome::CutMidFrame(response) => {
                    self.stream.write_all(&encode(response)?.first_half()).await?;
                    self.stream.flush().await?;
                    return Ok(false);
                }
                Outcome::Park { until_ms } => {
                    let left = u64::try_from(until_ms - now_ms()).unwrap_or(0);
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep(Duration::from_millis(left)) => {}
                    }
                    outcome = self.shared.with(|broker, now| broker.resume(now, self.id));
                }
            }
        }
    }

    async fn send(&mut self, mut frame: Pieces) -> io::Result<bool> {
        self.stream.write_all_buf(&mut frame).await?;
        Ok(true)
    }

    /// Keeps the connection open and deaf until the client closes it.
    async fn discard_input(&mut self) -> io::Result<bool> {
        let mut scrap = [0u8; 4096];
        while self.stream.read(&mut scrap).await? > 0 {}
        Ok(false)
    }
}
