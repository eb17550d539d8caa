//! The shell around one [`Shard`]: carries out its effects on real connections and feeds the answers back.
//!
//! No decision about Kafka is made here. Everything runs on one thread.

use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use protocol_client::ClientError;
use protocol_client::client::{
    Client, ListedOffset, OffsetSpec, ReadChunk, ReadLimits, TransactionEnd,
};
use protocol_client::cluster::metadata::Topics;
use protocol_client::cluster::{self, ClusterView};
use protocol_client::net::{Connection, ConnectionOptions};
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::Isolation;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::clock::Clock;
use super::indexes::Ask;
use super::tell::{self, Brokers};
use super::transactions::{Request, Transactions, TransactionsSetup};
use crate::flow::event::{
    Coordinate, Effect, Event, Failure, Happening, LaneId, LogRange, PartitionKey, PartitionSpec,
    Producer,
};
use crate::flow::settings::ShardSettings;
use crate::flow::shard::{Progress, Shard, SyncState, Which};
use crate::index::{OffsetIndex, Translation};
use crate::model::{Pair, Side, TopicPartition};

/// How much of a log is read at once to compare it, in bytes.
const LOOK_BACK_BYTES: i32 = 1 << 20;

/// A partition, as the source calls it.
pub(super) type Named = (Arc<str>, i32);

/// What the flow asks of a shard.
#[derive(Debug)]
pub(super) enum Command {
    /// Replicate these too.
    Add(Vec<PartitionSpec>),
    /// Replicate this source topic no more.
    Remove(Arc<str>),
    /// Views of source and target that know what is added next.
    Views(Arc<ClusterView>, Arc<ClusterView>),
    /// Of those partitions that wait for it, this is stored.
    Stored(Vec<(TopicPartition, Pair)>),
    /// Who writes at the target from now on.
    Producer(Producer),
    /// Records are written in these transactions.
    Transactions(Box<TransactionsSetup>),
    /// What is there to store of the indexes?
    SyncStates(Which, oneshot::Sender<Vec<SyncState>>),
    /// The indexes of these partitions of the source, of those that the shard has.
    Indexes(Vec<Named>, oneshot::Sender<Vec<(Named, OffsetIndex)>>),
    /// Positions on the other side, of the partitions that the shard has.
    Translate(Vec<Ask>, oneshot::Sender<Vec<(usize, Translation)>>),
    /// How far is everything?
    Progress(oneshot::Sender<Vec<Progress>>),
    /// Finish what is under way; answered when nothing is.
    Drain(oneshot::Sender<()>),
}

/// What a flow hears from its shards, however often, once.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Topics have to be looked at.
    pub(super) topics: Notify,
    /// A partition waits until it is stored where it stands.
    pub(super) positions: Notify,
    /// The producer needs another epoch.
    pub(super) renew: Notify,
    /// Another instance has taken over.
    pub(super) fenced: Notify,
}

/// What a shard is made of.
#[derive(Debug, Clone)]
pub(super) struct ShardSetup {
    /// Name of the flow, for logs.
    pub(super) flow: Arc<str>,
    /// Which of the flow's shards this is.
    pub(super) index: usize,
    /// What the flow's shards know of unreachable brokers.
    pub(super) brokers: Brokers,
    pub(super) settings: ShardSettings,
    pub(super) clock: Clock,
    /// What the flow has to hear of.
    pub(super) news: Arc<News>,
    pub(super) seed: u64,
    pub(super) source: Client,
    pub(super) target: Client,
    pub(super) source_options: Arc<ConnectionOptions>,
    pub(super) target_options: Arc<ConnectionOptions>,
}

/// Runs a shard until its commands end.
pub(super) async fn run(setup: ShardSetup, mut commands: mpsc::UnboundedReceiver<Command>) {
    let (events, mut happened) = mpsc::unbounded_channel();
    let shard = Shard::new(setup.settings.clone(), setup.seed);
    let mut shell = Shell {
        shard,
        setup,
        events,
        lanes: BTreeMap::new(),
        effects: Vec::new(),
        transactions: None,
        drained: None,
    };
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut armed = None;
    loop {
        let deadline = shell.shard.next_deadline().map(|at| shell.setup.clock.instant(at));
        // Deadlines mostly move later; the timer then fires once for nothing, which costs less than moving it each time.
        if let Some(deadline) = deadline.filter(|at| armed.is_none_or(|armed| *at < armed)) {
            timer.as_mut().reset(deadline);
            armed = Some(deadline);
        }
        tokio::select! {
            biased;
            Some(event) = happened.recv() => {
                shell.happened(event);
                // Answers that came meanwhile share the next request.
                while let Ok(event) = happened.try_recv() {
                    shell.happened(event);
                }
                shell.carry_out();
            }
            command = commands.recv() => match command {
                Some(command) => shell.obey(command),
                None => break,
            },
            () = timer.as_mut(), if armed.is_some() => {
                armed = None;
                shell.feed(Event::Tick);
            }
        }
    }
    for connection in shell.lanes.into_values() {
        connection.close();
    }
}

/// What comes back from the tasks that wait for answers.
enum Happened {
    Opened(LaneId, Connection),
    Event(Event),
}

struct Shell {
    shard: Shard,
    setup: ShardSetup,
    events: mpsc::UnboundedSender<Happened>,
    lanes: BTreeMap<LaneId, Connection>,
    effects: Vec<Effect>,
    transactions: Option<Rc<Transactions>>,
    drained: Option<oneshot::Sender<()>>,
}

impl Shell {
    fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::Opened(lane, connection) => {
                self.setup.brokers.reached(self.setup.index, lane);
                self.watch(lane, connection.clone());
                self.lanes.insert(lane, connection);
                self.take(Event::LaneUp(lane));
            }
            Happened::Event(event) => {
                if let Event::LaneDown(lane) = &event
                    && let Some(connection) = self.lanes.remove(lane)
                {
                    connection.close();
                }
                self.take(event);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(specs) => {
                for spec in specs {
                    self.take(Event::Add(Box::new(spec)));
                }
                self.carry_out();
            }
            Command::Remove(topic) => {
                for key in self.shard.keys_of(&topic) {
                    self.take(Event::Remove(key));
                }
                self.carry_out();
            }
            Command::Views(source, target) => {
                self.take(Event::Metadata(Side::Source, source));
                self.feed(Event::Metadata(Side::Target, target));
            }
            Command::Stored(pairs) => {
                for (source, pair) in pairs {
                    self.take(Event::Stored(source, pair));
                }
                self.carry_out();
            }
            Command::Producer(producer) => self.feed(Event::Producer(producer)),
            Command::Transactions(setup) => {
                self.transactions = Some(Rc::new(Transactions::new(*setup)));
            }
            Command::SyncStates(which, answer) => {
                let _ = answer.send(self.shard.sync_states(which));
            }
            Command::Indexes(partitions, answer) => {
                let found = partitions.into_iter().filter_map(|at| {
                    let index = self.shard.index_of(&at.0, at.1)?.clone();
                    Some((at, index))
                });
                let _ = answer.send(found.collect());
            }
            Command::Translate(asks, answer) => {
                let found = asks.iter().enumerate().filter_map(|(number, ask)| {
                    let index = self.shard.index_of(&ask.topic, ask.index)?;
                    Some((number, ask.answer(index)))
                });
                let _ = answer.send(found.collect());
            }
            Command::Progress(answer) => {
                // Whoever asked may have gone; nothing is lost then.
                let _ = answer.send(self.shard.progress().collect());
            }
            Command::Drain(answer) => {
                self.drained = Some(answer);
                self.feed(Event::Drain);
            }
        }
    }

    fn take(&mut self, event: Event) {
        self.shard.handle(self.setup.clock.now(), event, &mut self.effects);
    }

    fn feed(&mut self, event: Event) {
        self.take(event);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        let mut ranges = Vec::new();
        let mut ends = Vec::new();
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Connect(lane) => self.connect(lane),
                Effect::Close(lane, why) => {
                    match why {
                        Some(error) => {
                            self.setup.brokers.unreachable(self.setup.index, lane, &error);
                        }
                        None => drop(self.setup.brokers.forget(self.setup.index, lane)),
                    }
                    if let Some(connection) = self.lanes.remove(&lane) {
                        connection.close();
                    }
                }
                Effect::Fetch(lane, request) => {
                    if let Some(connection) = self.lane(lane) {
                        let answered = move |answer| Event::Fetched(lane, answer);
                        connection.fetch_then(&request, self.on_answer(lane, answered));
                    }
                }
                Effect::Produce(lane, number, request) => {
                    if let Some(connection) = self.lane(lane) {
                        let answered = move |answer| Event::Produced(lane, number, answer);
                        connection.produce_then(&request, self.on_answer(lane, answered));
                    }
                }
                Effect::AskSourceRange(key) => ranges.push(key),
                Effect::AskTargetEnd(key) => ends.push(key),
                Effect::ReadLog(key, side, from, isolation) => {
                    self.read_log(key, side, from, isolation);
                }
                Effect::Coordinate(what) => self.coordinate(what),
                Effect::RenewProducer => self.setup.news.renew.notify_one(),
                Effect::StorePosition => self.setup.news.positions.notify_one(),
                Effect::Fenced => self.setup.news.fenced.notify_one(),
                Effect::RefreshMetadata(side) => self.refresh(side),
                Effect::Report(report) => {
                    if matches!(report.what, Happening::Failed(Failure::Recreated(_))) {
                        self.setup.news.topics.notify_one();
                    }
                    tell::report(&self.setup.flow, &report);
                }
                Effect::Drained => {
                    if let Some(answer) = self.drained.take() {
                        let _ = answer.send(());
                    }
                }
            }
        }
        self.effects = effects;
        if !ranges.is_empty() {
            self.ask_ranges(ranges);
        }
        if !ends.is_empty() {
            self.ask_ends(ends);
        }
    }

    fn read_log(&self, key: PartitionKey, side: Side, from: i64, isolation: Isolation) {
        let Some((source, target)) = self.shard.names(key) else { return };
        let at = match side {
            Side::Source => source,
            Side::Target => target,
        };
        let client = self.client(side);
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let read = look_back(&client, &at, from, isolation).await;
            let read = read
                .map(Box::new)
                .map_err(|error| error.code().unwrap_or(ErrorCode::NETWORK_EXCEPTION));
            let _ = events.send(Happened::Event(Event::LogRead(key, side, read)));
        });
    }

    fn coordinate(&self, what: Coordinate) {
        let names = |keys: Vec<PartitionKey>| {
            keys.into_iter().filter_map(|key| self.shard.names(key)).collect()
        };
        let request = match what {
            Coordinate::Add(keys) => Request::Add(names(keys)),
            Coordinate::Settle { members, counts } => {
                let end = if counts { TransactionEnd::Commit } else { TransactionEnd::Abort };
                Request::Settle(names(members), end)
            }
            other => Request::Other(other),
        };
        let events = self.events.clone();
        let Some(transactions) = self.transactions.clone() else {
            // A shard gets its transactions before its producer, and sends nothing without that.
            let _ = events.send(Happened::Event(Event::Coordinated(Err(None))));
            return;
        };
        tokio::task::spawn_local(async move {
            let done = match transactions.carry_out(request).await {
                Ok(producer) => {
                    let renewed = producer.map(|one| Happened::Event(Event::Producer(one)));
                    renewed.into_iter().for_each(|event| drop(events.send(event)));
                    Ok(())
                }
                Err(error) => Err(error.code()),
            };
            let _ = events.send(Happened::Event(Event::Coordinated(done)));
        });
    }

    fn client(&self, side: Side) -> Client {
        match side {
            Side::Source => self.setup.source.clone(),
            Side::Target => self.setup.target.clone(),
        }
    }

    fn connect(&mut self, lane: LaneId) {
        let client = self.client(lane.side);
        let options = match lane.side {
            Side::Source => self.setup.source_options.clone(),
            Side::Target => self.setup.target_options.clone(),
        };
        let events = self.events.clone();
        let (index, brokers) = (self.setup.index, self.setup.brokers.clone());
        tokio::task::spawn_local(async move {
            let happened = match client.connect_to(lane.node, &options).await {
                Ok(connection) => Happened::Opened(lane, connection),
                Err(error) => {
                    brokers.unreachable(index, lane, &error);
                    Happened::Event(Event::LaneDown(lane))
                }
            };
            // The shard may have ended meanwhile.
            let _ = events.send(happened);
        });
    }

    /// The connection of a lane; the shard hears of it if there is none any more.
    fn lane(&self, lane: LaneId) -> Option<&Connection> {
        let connection = self.lanes.get(&lane);
        if connection.is_none() {
            let _ = self.events.send(Happened::Event(Event::LaneDown(lane)));
        }
        connection
    }

    /// Tells the shard of a lane's answer, or that the lane is lost.
    fn on_answer<T>(
        &self,
        lane: LaneId,
        answered: impl FnOnce(T) -> Event + Send + 'static,
    ) -> impl FnOnce(Result<T, ClientError>) + Send + 'static {
        let events = self.events.clone();
        let (index, brokers) = (self.setup.index, self.setup.brokers.clone());
        move |answer| {
            let event = answer.map_or_else(
                |error| {
                    brokers.lost(index, lane, &error);
                    Event::LaneDown(lane)
                },
                answered,
            );
            let _ = events.send(Happened::Event(event));
        }
    }

    /// Notices the end of a connection also when nothing is under way on it: brokers close idle ones.
    fn watch(&self, lane: LaneId, connection: Connection) {
        let events = self.events.clone();
        let (index, brokers) = (self.setup.index, self.setup.brokers.clone());
        tokio::task::spawn_local(async move {
            brokers.lost(index, lane, &connection.closed().await);
            let _ = events.send(Happened::Event(Event::LaneDown(lane)));
        });
    }

    fn refresh(&self, side: Side) {
        let client = self.client(side);
        let events = self.events.clone();
        let flow = self.setup.flow.clone();
        tokio::task::spawn_local(async move {
            let event = match client.refresh(Topics::All, client.view().generation).await {
                Ok(view) => Event::Metadata(side, view),
                Err(error) => {
                    tell::refresh_failed(&flow, side, &error);
                    Event::MetadataFailed(side)
                }
            };
            let _ = events.send(Happened::Event(event));
        });
    }

    fn ask_ranges(&self, keys: Vec<PartitionKey>) {
        let partitions = self.named(keys, |(source, _)| source);
        let client = self.client(Side::Source);
        let isolation = self.setup.settings.isolation;
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let asked = || partitions.keys().cloned();
            let mut earliest =
                client.list_offsets_of(asked(), OffsetSpec::Earliest, isolation).await;
            let mut latest = client.list_offsets_of(asked(), OffsetSpec::Latest, isolation).await;
            for (partition, key) in partitions {
                let range = found(earliest.remove(&partition)).and_then(|earliest| {
                    Ok(LogRange { earliest, latest: found(latest.remove(&partition))? })
                });
                let _ = events.send(Happened::Event(Event::SourceRange(key, range)));
            }
        });
    }

    fn ask_ends(&self, keys: Vec<PartitionKey>) {
        let partitions = self.named(keys, |(_, target)| target);
        let client = self.client(Side::Target);
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let isolation = Isolation::ReadUncommitted;
            let asked = partitions.keys().cloned();
            let mut ends = client.list_offsets_of(asked, OffsetSpec::Latest, isolation).await;
            for (partition, key) in partitions {
                let end = found(ends.remove(&partition));
                let _ = events.send(Happened::Event(Event::TargetEnd(key, end)));
            }
        });
    }

    /// The partitions behind keys, as one side calls them.
    fn named(
        &self,
        keys: Vec<PartitionKey>,
        pick: impl Fn((TopicPartition, TopicPartition)) -> TopicPartition,
    ) -> BTreeMap<cluster::TopicPartition, PartitionKey> {
        let named = keys.into_iter().filter_map(|key| {
            let at = pick(self.shard.names(key)?);
            Some((cluster::TopicPartition::new(at.topic, at.index), key))
        });
        named.collect()
    }
}

/// Reads a piece of a log; where the log begins behind `from`, its first piece.
async fn look_back(
    client: &Client,
    at: &TopicPartition,
    from: i64,
    isolation: Isolation,
) -> Result<ReadChunk, ClientError> {
    let partition = cluster::TopicPartition::new(at.topic.clone(), at.index);
    let limits = ReadLimits { max_bytes: LOOK_BACK_BYTES, isolation, ..ReadLimits::default() };
    match client.read_at(&partition, from, limits).await {
        Err(error) if error.code() == Some(ErrorCode::OFFSET_OUT_OF_RANGE) => {
            let asked = [partition.clone()];
            let mut earliest = client.list_offsets_of(asked, OffsetSpec::Earliest, isolation).await;
            match earliest.remove(&partition) {
                Some(Ok(start)) if start.offset > from => {
                    client.read_at(&partition, start.offset, limits).await
                }
                _ => Err(error),
            }
        }
        read => read,
    }
}

/// An offset as the machines want it: what is no answer of a broker counts as a network's failure.
fn found(offset: Option<Result<ListedOffset, ClientError>>) -> Result<i64, ErrorCode> {
    match offset {
        Some(Ok(found)) => Ok(found.offset),
        Some(Err(error)) => Err(error.code().unwrap_or(ErrorCode::NETWORK_EXCEPTION)),
        None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    }
}
