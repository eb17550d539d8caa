//! The handle of a connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::dial::{dial, shake_hands};
use super::driver::{Command, Driver, Waiter};
use super::options::ConnectionOptions;
use crate::address::BrokerAddress;
use crate::conn::machine::Outgoing;
use crate::error::{ClientError, Fault};
use crate::wire::api::{Api, Capabilities};
use crate::wire::fetch::{FETCH, RawFetch, RawFetchAnswer};
use crate::wire::frame::FrameAssembler;
use crate::wire::message::{begin_frame, decode_body, encode_frame, set_frame_size, tagged_header};
use crate::wire::produce::{Asked, PRODUCE, RawProduce, RawProduceAnswer};

/// A connection to one broker. Clones share it; it ends when the last clone and the last
/// unanswered request are gone, at [`close`](Self::close), or at the first failure, which then
/// reaches everybody who waits.
///
/// Requests go out in the order in which they are started, and are answered in that order.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    broker: Arc<str>,
    options: Arc<ConnectionOptions>,
    capabilities: Capabilities,
    next_correlation_id: AtomicI32,
    commands: mpsc::Sender<Command>,
    close: watch::Sender<bool>,
    closed: watch::Receiver<Option<ClientError>>,
}

impl Connection {
    /// Connects, shakes hands and spawns the connection's task on the current runtime.
    ///
    /// # Errors
    /// Everything from an unknown host name to a peer that does not speak Kafka; all within
    /// `connect_timeout`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn open(
        address: &BrokerAddress,
        options: &Arc<ConnectionOptions>,
    ) -> Result<Self, ClientError> {
        let broker: Arc<str> = Arc::from(address.to_string());
        let opened = timeout(options.connect_timeout, Self::establish(address, options, &broker));
        let opened = opened
            .await
            .unwrap_or_else(|_| Err(Fault::Timeout { after: options.connect_timeout }.into()));
        opened.map_err(|error| error.at(&broker))
    }

    async fn establish(
        address: &BrokerAddress,
        options: &Arc<ConnectionOptions>,
        broker: &Arc<str>,
    ) -> Result<Self, ClientError> {
        let mut stream = dial(address, options).await?;
        let pool = options.frame_pool.clone();
        let mut assembler = FrameAssembler::new(pool, options.max_frame_bytes);
        let capabilities = shake_hands(&mut stream, &mut assembler, options).await?;
        let (commands, queue) = mpsc::channel(options.max_queued.max(1));
        let (close, close_asked) = watch::channel(false);
        let (closed_told, closed) = watch::channel(None);
        let driver =
            Driver::new(stream, Arc::clone(broker), assembler, options.max_in_flight, queue);
        tokio::spawn(driver.run(close_asked, closed_told));
        Ok(Self(Arc::new(Shared {
            broker: Arc::clone(broker),
            options: Arc::clone(options),
            capabilities,
            next_correlation_id: AtomicI32::new(0),
            commands,
            close,
            closed,
        })))
    }

    /// The broker as `host:port`.
    pub fn broker(&self) -> &Arc<str> {
        &self.0.broker
    }

    /// What the broker said it can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// How long a broker may take for an answer, in milliseconds as requests tell it.
    pub fn request_timeout_ms(&self) -> i32 {
        i32::try_from(self.0.options.request_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// The newest version of `R` that both sides speak, for requests that differ by version.
    pub fn version<R: Api>(&self) -> Result<i16, ClientError> {
        let version = self.0.capabilities.version::<R>();
        version.map_err(|gap| ClientError::new(gap).at(&self.0.broker).during(R::ID.name))
    }

    /// Sends a request in the newest common version and waits for its answer.
    ///
    /// # Errors
    /// Also if the request uses a field that this version does not have.
    pub async fn call<R: Api>(&self, request: R) -> Result<R::Response, ClientError> {
        let version = self.version::<R>()?;
        self.call_version(request, version).await
    }

    /// Like [`call`](Self::call), in a version found with [`version`](Self::version) or older.
    pub async fn call_version<R: Api>(
        &self,
        request: R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        self.call_for(request, version, Duration::ZERO).await
    }

    /// Like [`call_version`](Self::call_version), for a request that lets the broker wait for
    /// `patience` before it answers.
    pub async fn call_for<R: Api>(
        &self,
        request: R,
        version: i16,
        patience: Duration,
    ) -> Result<R::Response, ClientError> {
        let correlation_id = self.correlation_id();
        let frame = encode_frame(&request, version, correlation_id, &self.0.options.client_id);
        let frame = frame.map_err(|error| error.at(&self.0.broker).during(R::ID.name))?;
        let outgoing = Outgoing {
            api: R::ID,
            correlation_id,
            tagged_header: tagged_header::<R>(version),
            allowance: self.0.options.request_timeout + patience,
            pieces: vec![frame],
        };
        let (sender, pending) = Pending::new();
        let decode = move |body, _| {
            let answer = decode_body::<R>(body, version)?;
            let pause = R::throttle_time_ms(&answer).try_into().unwrap_or(0);
            Ok((answer, Duration::from_millis(pause)))
        };
        let command = self.command(outgoing, decode, sender);
        if let Err(refused) = self.0.commands.send(command).await {
            refused.0.fail(&self.reason());
        }
        pending.await
    }

    /// Puts a fetch behind everything started before and returns at once.
    pub fn start_fetch(&self, request: &RawFetch) -> Pending<RawFetchAnswer> {
        let (sender, pending) = Pending::new();
        self.fetch_then(request, sender);
        pending
    }

    /// Like [`start_fetch`](Self::start_fetch), for who has no need of a task that waits: the
    /// connection's own task hands the answer over, so `then` must not block. It is not called
    /// when the runtime ends first.
    pub fn fetch_then(&self, request: &RawFetch, then: impl Then<RawFetchAnswer>) {
        match self.prepare_fetch(request) {
            Ok((outgoing, version)) => self.enqueue(self.command(
                outgoing,
                move |body, waited| {
                    let mut answer = RawFetchAnswer::decode(version, &body)?;
                    answer.waited = Some(waited);
                    let throttle = answer.throttle;
                    Ok((answer, throttle))
                },
                then,
            )),
            Err(error) => then(Err(error.at(&self.0.broker).during(FETCH.name))),
        }
    }

    /// Puts a produce request behind everything started before and returns at once. The payloads
    /// are referenced until they are written, not copied.
    pub fn start_produce(&self, request: &RawProduce) -> Pending<RawProduceAnswer> {
        let (sender, pending) = Pending::new();
        self.produce_then(request, sender);
        pending
    }

    /// Like [`start_produce`](Self::start_produce), with the answer handed over as
    /// [`fetch_then`](Self::fetch_then) does.
    pub fn produce_then(&self, request: &RawProduce, then: impl Then<RawProduceAnswer>) {
        match self.prepare_produce(request) {
            Ok((outgoing, asked)) => self.enqueue(self.command(
                outgoing,
                move |body, _| {
                    let answer = RawProduceAnswer::decode(&body, &asked)?;
                    let throttle = answer.throttle;
                    Ok((answer, throttle))
                },
                then,
            )),
            Err(error) => then(Err(error.at(&self.0.broker).during(PRODUCE.name))),
        }
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.0.commands.is_closed()
    }

    /// Waits for the end of the connection and returns the reason.
    pub async fn closed(&self) -> ClientError {
        let mut closed = self.0.closed.clone();
        let _ = closed.wait_for(Option::is_some).await;
        self.reason()
    }

    /// Ends the connection; whoever still waits gets [`Fault::Closed`].
    pub fn close(&self) {
        self.0.close.send_replace(true);
    }

    fn prepare_fetch(&self, request: &RawFetch) -> Result<(Outgoing, i16), ClientError> {
        request.validate()?;
        let version = request.version(&self.0.capabilities)?;
        let correlation_id = self.correlation_id();
        let client_id = &self.0.options.client_id;
        let mut frame = begin_frame(FETCH, version, true, correlation_id, client_id);
        request.encode(version, &mut frame);
        set_frame_size(&mut frame, 0)?;
        let outgoing = Outgoing {
            api: FETCH,
            correlation_id,
            tagged_header: true,
            allowance: self.0.options.request_timeout + milliseconds(request.max_wait_ms),
            pieces: vec![frame.freeze()],
        };
        Ok((outgoing, version))
    }

    fn prepare_produce(&self, request: &RawProduce) -> Result<(Outgoing, Asked), ClientError> {
        let version = request.version(&self.0.capabilities)?;
        let asked = request.asked(version)?;
        let correlation_id = self.correlation_id();
        let client_id = &self.0.options.client_id;
        let head = begin_frame(PRODUCE, version, true, correlation_id, client_id);
        let pieces = request.encode(version, head)?;
        let outgoing = Outgoing {
            api: PRODUCE,
            correlation_id,
            tagged_header: true,
            allowance: self.0.options.request_timeout + milliseconds(request.timeout_ms),
            pieces,
        };
        Ok((outgoing, asked))
    }

    fn correlation_id(&self) -> i32 {
        self.0.next_correlation_id.fetch_add(1, Ordering::Relaxed)
    }

    fn command<T: Send + 'static>(
        &self,
        request: Outgoing,
        decode: impl FnOnce(Bytes, Duration) -> Result<(T, Duration), ClientError> + Send + 'static,
        then: impl Then<T>,
    ) -> Command {
        let api = request.api.name;
        let broker = Arc::clone(&self.0.broker);
        Command { request, waiter: Box::new(Reply { then, decode, api, broker }) }
    }

    fn enqueue(&self, command: Command) {
        match self.0.commands.try_send(command) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(command)) => command.fail(&self.reason()),
            Err(mpsc::error::TrySendError::Full(command)) => {
                let fault = Fault::QueueFull { limit: self.0.options.max_queued };
                command.fail(&ClientError::new(fault).at(&self.0.broker));
            }
        }
    }

    fn reason(&self) -> ClientError {
        let told = self.0.closed.borrow().clone();
        told.unwrap_or_else(|| ClientError::new(Fault::Closed).at(&self.0.broker))
    }
}

fn milliseconds(value: i32) -> Duration {
    Duration::from_millis(value.try_into().unwrap_or(0))
}

/// An answer that is under way. Dropping it does not take the request back.
#[derive(Debug)]
#[must_use = "the answer, or the reason why there is none, comes from awaiting this"]
pub struct Pending<T>(oneshot::Receiver<Result<T, ClientError>>);

impl<T: Send + 'static> Pending<T> {
    fn new() -> (impl Then<T>, Self) {
        let (sender, receiver) = oneshot::channel();
        // Whoever waited may have gone.
        (move |answer| drop(sender.send(answer)), Self(receiver))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|received| {
            // The sender only vanishes unused when the runtime of the connection shuts down.
            received.unwrap_or_else(|_| Err(Fault::Closed.into()))
        })
    }
}

/// Who takes an answer, or the reason why there is none.
pub trait Then<T>: FnOnce(Result<T, ClientError>) + Send + 'static {}

impl<T, F: FnOnce(Result<T, ClientError>) + Send + 'static> Then<T> for F {}

struct Reply<D, N> {
    decode: D,
    then: N,
    api: &'static str,
    broker: Arc<str>,
}

impl<T, D, N> Waiter for Reply<D, N>
where
    D: FnOnce(Bytes, Duration) -> Result<(T, Duration), ClientError> + Send,
    N: Then<T>,
{
    fn answer(self: Box<Self>, body: Bytes, waited: Duration) -> Result<Duration, ClientError> {
        match (self.decode)(body, waited) {
            Ok((answer, pause)) => {
                (self.then)(Ok(answer));
                Ok(pause)
            }
            Err(error) => {
                let error = error.at(&self.broker).during(self.api);
                (self.then)(Err(error.clone()));
                Err(error)
            }
        }
    }

    fn fail(self: Box<Self>, error: ClientError) {
        (self.then)(Err(error));
    }
}
