//! The task of a connection: moves bytes, time and answers between a socket and the machine.
//!
//! It decides nothing about Kafka; see [`crate::conn::machine`].

use std::future::Future;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep, sleep_until};

use super::outbox::{FEW_SLICES, MAX_SLICES, Outbox};
use crate::conn::machine::{Machine, Outgoing};
use crate::error::{ClientError, Fault};
use crate::wire::frame::FrameAssembler;

/// Whoever waits for an answer, and knows how to read it.
pub(super) trait Waiter: Send {
    /// Reads the answer, which began to come after `waited`, and hands it over. Returns for how
    /// long the broker wants to be left alone; an answer that cannot be read ends the connection.
    fn answer(self: Box<Self>, body: Bytes, waited: Duration) -> Result<Duration, ClientError>;

    /// Hands over the failure instead.
    fn fail(self: Box<Self>, error: ClientError);
}

/// A request on its way to the driver.
pub(super) struct Command {
    pub(super) request: Outgoing,
    pub(super) waiter: Box<dyn Waiter>,
}

impl Command {
    pub(super) fn fail(self, error: &ClientError) {
        self.waiter.fail(error.clone().during(self.request.api.name));
    }
}

pub(super) struct Driver<T> {
    stream: T,
    broker: Arc<str>,
    assembler: FrameAssembler,
    /// When the first bytes came of the frame that is being read.
    began: Option<Instant>,
    machine: Machine<Box<dyn Waiter>>,
    outbox: Outbox,
    commands: mpsc::Receiver<Command>,
    handles_gone: bool,
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(super) fn new(
        stream: T,
        broker: Arc<str>,
        assembler: FrameAssembler,
        max_in_flight: usize,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            stream,
            broker,
            assembler,
            began: None,
            machine: Machine::new(max_in_flight),
            outbox: Outbox::default(),
            commands,
            handles_gone: false,
            timer: Box::pin(sleep_until(Instant::now())),
            armed: None,
        }
    }

    /// Runs until the first failure, or until nobody is left who could ask, and tells everybody.
    pub(super) async fn run(
        mut self,
        mut close: watch::Receiver<bool>,
        closed: watch::Sender<Option<ClientError>>,
    ) {
        let error = tokio::select! {
            error = std::future::poll_fn(|cx| self.poll(cx)) => error,
            _ = close.wait_for(|close| *close) => Fault::Closed.into(),
        };
        let error = error.at(&self.broker);
        tracing::debug!(broker = %self.broker, %error, "connection ended");
        // The reason must be readable before the queue refuses commands.
        closed.send_replace(Some(error.clone()));
        self.commands.close();
        for (api, waiter) in self.machine.poison() {
            waiter.fail(error.clone().during(api.name));
        }
        while let Ok(command) = self.commands.try_recv() {
            command.fail(&error);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ClientError> {
        match self.poll_step(cx) {
            Ok(true) => Poll::Ready(Fault::Closed.into()),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        }
    }

    /// Does all that can be done without waiting; true when there is nothing left to do ever.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Result<bool, ClientError> {
        loop {
            self.take_commands(cx);
            self.transmit();
            let wrote = self.poll_write(cx)?;
            let read = self.poll_read(cx)?;
            if self.handles_gone && self.machine.is_idle() {
                return Ok(true);
            }
            let fired = self.poll_timer(cx)?;
            if !(wrote || read || fired) {
                return Ok(false);
            }
        }
    }

    fn take_commands(&mut self, cx: &mut Context<'_>) {
        while self.machine.has_room() && !self.handles_gone {
            match self.commands.poll_recv(cx) {
                Poll::Ready(Some(command)) => self.machine.submit(command.request, command.waiter),
                Poll::Ready(None) => self.handles_gone = true,
                Poll::Pending => return,
            }
        }
    }

    fn transmit(&mut self) {
        if !self.machine.has_waiting() {
            return;
        }
        let now = Instant::now().into_std();
        while let Some(pieces) = self.machine.poll_transmit(now) {
            self.outbox.push(pieces);
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, ClientError> {
        let mut progress = false;
        while !self.outbox.is_empty() {
            let written = match self.outbox.len() {
                ..=FEW_SLICES => self.poll_write_slices::<FEW_SLICES>(cx),
                _ => self.poll_write_slices::<MAX_SLICES>(cx),
            };
            match written {
                Poll::Pending => return Ok(progress),
                Poll::Ready(Ok(written)) if written > 0 => self.outbox.advance(written),
                Poll::Ready(Ok(_)) => return Err(lost("the stream takes no more bytes")),
                Poll::Ready(Err(error)) => return Err(lost(error)),
            }
            progress = true;
        }
        // Encrypting transports keep bytes back until they are told to flush.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(lost(error)),
            _ => Ok(progress),
        }
    }

    fn poll_write_slices<const MOST: usize>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); MOST];
        let filled = self.outbox.slices(&mut slices);
        Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..filled])
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, ClientError> {
        let frame = poll_frame(cx, &mut self.stream, &mut self.assembler);
        let Poll::Ready(frame) = frame else {
            if !self.assembler.is_between_frames() {
                self.began.get_or_insert_with(Instant::now);
            }
            return Ok(false);
        };
        let now = Instant::now();
        let began = self.began.take().unwrap_or(now);
        let answered = self.machine.receive(now.into_std(), began.into_std(), frame?)?;
        let pause = answered.waiter.answer(answered.body, answered.waited);
        let pause = pause.map_err(|error| error.during(answered.api.name))?;
        self.machine.throttle(Instant::now().into_std(), pause);
        Ok(true)
    }

    /// True if the timer fired and the machine may have something to transmit.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<bool, ClientError> {
        let Some(deadline) = self.machine.next_deadline().map(Instant::from_std) else {
            return Ok(false);
        };
        // Deadlines mostly move later; the timer then fires once for nothing and is set anew,
        // which is cheaper than moving it with each answer.
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.timer.as_mut().reset(deadline);
            self.armed = Some(deadline);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Ok(false);
        }
        self.armed = None;
        self.machine.handle_timeout(Instant::now().into_std())?;
        Ok(true)
    }
}

/// Reads until the assembler has a frame. Keeps no state of its own, so it may be dropped.
pub(super) fn poll_frame<T: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    stream: &mut T,
    assembler: &mut FrameAssembler,
) -> Poll<Result<Bytes, ClientError>> {
    loop {
        match assembler.next_frame() {
            Ok(Some(frame)) => return Poll::Ready(Ok(frame)),
            Ok(None) => {}
            Err(error) => return Poll::Ready(Err(error.into())),
        }
        let (buffer, room) = assembler.space();
        let mut limited = buffer.limit(room);
        match ready!(pin!(stream.read_buf(&mut limited)).poll(cx)) {
            Ok(0) if assembler.is_between_frames() => {
                return Poll::Ready(Err(lost("the broker closed the connection")));
            }
            Ok(0) => {
                return Poll::Ready(Err(lost("the broker closed the connection inside an answer")));
            }
            Ok(_) => {}
            Err(error) => return Poll::Ready(Err(lost(error))),
        }
    }
}

fn lost(reason: impl ToString) -> ClientError {
    Fault::Disconnected { reason: reason.to_string() }.into()
}
