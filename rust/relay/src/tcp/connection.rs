// SPDX-License-Identifier: Apache-2.0
//! One connection: two sockets and two ways between them. While nothing moves it owns no buffer and no pipe.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::pipes::Pipe;
use crate::stats::{End, Flow, Way};
use crate::table::{Found, Member, Scope};
use crate::worker::timers::Tick;

/// Both ways, in the order of their numbers.
pub const WAYS: [Way; 2] = [Way::Up, Way::Down];

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// An endpoint has been dialled and has not answered.
    Dialling,
    /// Bytes go both ways.
    Open,
    /// One side has reset it. The other is reset as well once it has confirmed what was sent to it, or at that tick.
    Resetting(End, Tick),
}

/// How a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It said its last word.
    Finished,
    /// The connection to it broke.
    Reset,
}

/// When small packets leave a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// The kernel's default, which is no delay for the first.
    First,
    /// The first has been sent: before the next one, delay must be turned off.
    Next,
    /// Turned off.
    Off,
}

/// The bytes of one way. What the kernel tells once, when it becomes so, is kept here until it is known not to be so.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact that the kernel tells apart from the others")]
pub struct Direction {
    /// The source may have something.
    pub readable: bool,
    /// The sink may take something.
    pub writable: bool,
    /// The source has said its last word, though it may not have been read.
    pub ending: bool,
    /// The source has urgent bytes, before which reads stop.
    pub urgent: bool,
    /// The source is broken: its end, once read, is a reset.
    pub broken: bool,
    /// The sink is broken: nothing goes there any more.
    pub sunk: bool,
    /// The sink knows that the source has finished.
    pub told: bool,
    /// So much comes that splicing pays.
    pub bulk: bool,
    /// What may wait at the source has been bounded.
    pub bounded: bool,
    /// Reads in a row that filled the scratch buffer.
    pub full: u8,
    /// When small packets leave the sink.
    pub delay: Delay,
    /// How the source ended, once everything before that has been read.
    pub ended: Option<Ending>,
    /// Read, and not yet sent from `sent` on.
    pub tail: Box<[u8]>,
    /// How much of the tail has been sent.
    pub sent: u32,
    /// The pipe through which it is spliced.
    pub pipe: Option<Pipe>,
}

impl Direction {
    fn new(delay: Delay) -> Self {
        Self {
            readable: false,
            writable: false,
            ending: false,
            urgent: false,
            broken: false,
            sunk: false,
            told: false,
            bulk: false,
            bounded: false,
            full: 0,
            delay,
            ended: None,
            tail: Box::default(),
            sent: 0,
            pipe: None,
        }
    }

    /// Everything that was read has been sent.
    pub fn empty(&self) -> bool {
        self.tail.is_empty() && self.pipe.as_ref().is_none_or(|pipe| pipe.held == 0)
    }

    /// Trying to move something may succeed.
    pub fn may_move(&self) -> bool {
        self.writable && !self.sunk && (!self.empty() || (self.readable && self.ended.is_none()))
    }

    /// More comes than the sink takes.
    pub fn stalled(&self) -> bool {
        self.bulk && self.readable && !self.writable
    }

    /// The source's end has been reached and everything before it passed on.
    pub fn reached(&self, ending: Ending) -> bool {
        self.ended == Some(ending) && (self.sunk || self.empty())
    }

    /// The source is broken: what it said before is still there to be read.
    pub fn break_source(&mut self) {
        self.broken = true;
        self.readable = true;
        if self.sunk || self.ended == Some(Ending::Finished) {
            self.ended = Some(Ending::Reset);
        }
    }

    /// The sink is broken: what waits for it is lost, and what a broken source has left is not worth reading.
    pub fn break_sink(&mut self) {
        self.sunk = true;
        if self.broken {
            self.ended = Some(Ending::Reset);
        }
        self.tail = Box::default();
        self.sent = 0;
    }
}

/// What is known only while an endpoint is being dialled.
#[derive(Debug)]
pub struct Dial {
    /// Who dials.
    pub client: SocketAddr,
    /// What it dialled.
    pub dialled: SocketAddr,
    /// By which port it came.
    pub scope: Scope,
    /// When it came.
    pub began: Instant,
    /// When the present endpoint was dialled.
    pub attempted: Instant,
    /// The present endpoint.
    pub member: Option<Arc<Member>>,
    /// The frontend it was dialled for.
    pub found: Option<Found>,
    /// Every endpoint dialled so far.
    pub tried: Vec<SocketAddr>,
}

/// One connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that was done or not")]
pub struct Connection {
    /// The client's socket.
    pub client: OwnedFd,
    /// The endpoint's, once one was dialled.
    pub endpoint: Option<OwnedFd>,
    /// How far it is.
    pub stage: Stage,
    /// Whether it waits in the queue of those that have more to move.
    pub queued: bool,
    /// The client's socket is watched for room, too.
    pub watched: bool,
    /// What only a long life is worth has been set on the endpoint's socket.
    pub settled: bool,
    /// The endpoint has said something.
    pub answered: bool,
    /// The endpoint was dialled so that it is confirmed what it says only together with what is said to it.
    pub hasty: bool,
    /// It has proved to be a long transfer.
    pub bulk: bool,
    /// The two ways, by number.
    pub ways: [Direction; 2],
    /// The dial, while there is one.
    pub dial: Option<Box<Dial>>,
    /// Where it counts, once it is open.
    pub flow: Option<Flow>,
    /// When it was opened; before that, when the client came.
    pub opened: Instant,
    /// When something moved last.
    pub active: Tick,
    /// When it must be gone, because its endpoint or the relay leaves; 0: no such time.
    pub leave: Tick,
    /// The tick it is visited next; 0: none.
    pub armed: Tick,
}

impl Connection {
    /// One whose endpoint is still to be chosen.
    pub fn new(client: OwnedFd, dial: Dial, tick: Tick) -> Self {
        Self {
            client,
            endpoint: None,
            stage: Stage::Dialling,
            queued: false,
            watched: false,
            settled: false,
            answered: false,
            hasty: false,
            bulk: false,
            // A client's socket has inherited its delay, off, from the listener.
            ways: [Direction::new(Delay::First), Direction::new(Delay::Off)],
            opened: dial.began,
            dial: Some(Box::new(dial)),
            flow: None,
            active: tick,
            leave: 0,
            armed: 0,
        }
    }

    /// The way up and the way down.
    pub fn up_and_down(&mut self) -> (&mut Direction, &mut Direction) {
        let [up, down] = &mut self.ways;
        (up, down)
    }
}

#[cfg(test)]
mod tests;

// Twenty thousand idle connections are to cost no more than five megabytes.
const _: () = assert!(size_of::<Connection>() <= 248);
