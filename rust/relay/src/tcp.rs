// SPDX-License-Identifier: Apache-2.0
//! Connections: accepted, an endpoint dialled, bytes passed on both ways, ends passed on as they came.
//!
//! - `accept`: clients come, or are turned away; `dial`: an endpoint is found that answers
//! - `transfer`: what an open connection does; `copy`, `splice`, `pipes`: how its bytes move
//! - `backlog`: how much waits when it does not; `sharing`: long transfers passed to workers that have fewer
//! - `deadlines`: what happens when nothing happens
//! - `connection`: what is known of one

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::listen::Bound;
use crate::stats::End;
use crate::sys::socket;
use crate::worker::context::Context;
use crate::worker::epoll::{Happened, Kind, Place, BOTH_EDGES};
use crate::worker::slab::Slab;
use crate::worker::timers::{ticks, Tick, Wheel};

mod accept;
mod backlog;
pub(crate) mod connection;
mod copy;
mod deadlines;
mod dial;
mod pipes;
mod sharing;
mod splice;
mod transfer;

use accept::Door;
use connection::{Connection, Stage};
use pipes::Pipes;
use transfer::{transfer, Next};

/// Bytes one read takes: as many as fit the processor's cache beside the rest.
const SCRATCH: usize = 64 * 1024;

/// What a worker's connections use in turn.
#[derive(Debug)]
pub(crate) struct Tools {
    scratch: Box<[u8]>,
    pipes: Pipes,
    /// How often was spliced so far.
    spliced: u64,
}

/// A worker's connections.
#[derive(Debug)]
pub(crate) struct Tcp {
    door: Door,
    connections: Slab<Connection>,
    tools: Tools,
    wheel: Wheel,
    /// Those that have more to move than their turn allowed.
    queue: VecDeque<Place>,
    /// Once the relay drains: when whatever is left will be reset.
    leaving: Tick,
}

impl Tcp {
    /// With its listeners, to which nobody listens before the door is opened.
    pub fn new(listeners: Vec<Bound>) -> std::io::Result<Self> {
        Ok(Self {
            door: Door::new(listeners)?,
            connections: Slab::default(),
            tools: Tools { scratch: vec![0; SCRATCH].into(), pipes: Pipes::default(), spliced: 0 },
            wheel: Wheel::default(),
            queue: VecDeque::new(),
            leaving: 0,
        })
    }

    /// Something has happened to a connection.
    pub fn happened(&mut self, context: &mut Context, kind: Kind, place: Place, what: Happened) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        if connection.stage == Stage::Dialling {
            return self.dial_happened(context, place, what);
        }
        let (up, down) = connection.up_and_down();
        let (from, to) = if kind == Kind::Client { (up, down) } else { (down, up) };
        to.writable |= what.writable();
        from.urgent |= what.urgent();
        if what.readable() || what.ending() || what.shut() {
            from.readable = true;
            from.ending |= what.ending();
        }
        if what.broken() {
            from.break_source();
            to.break_sink();
        }
        self.work(context, place);
    }

    /// Give those a turn that had more to move.
    pub fn resume(&mut self, context: &mut Context) {
        for _ in 0..self.queue.len() {
            let Some(place) = self.queue.pop_front() else { return };
            if let Some(connection) = self.connections.get_mut(place) {
                connection.queued = false;
                self.work(context, place);
            }
        }
    }

    /// Whether somebody has more to move.
    pub fn busy(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Take no new clients; reset what is left after this long.
    pub fn drain(&mut self, context: &mut Context, deadline: Duration) {
        self.close_door(context);
        let at = context.clock.tick.saturating_add(ticks(deadline)).max(1);
        self.leaving = at;
        self.leave(at, |_| true);
    }

    /// Endpoints have left the table: their connections have until the drain time-out, if there is one.
    pub fn departures(&mut self, context: &Context) {
        if let Some(drain) = context.shared.config.timeouts.drain {
            let at = context.clock.tick.saturating_add(ticks(drain)).max(1);
            self.leave(at, |connection| connection.flow.as_ref().is_some_and(|flow| flow.member().departed()));
        }
    }

    /// The listeners.
    pub fn listeners(&self) -> &[Bound] {
        self.door.listeners()
    }

    /// Pipes in use.
    pub fn pipes(&self) -> usize {
        self.tools.pipes.taken()
    }

    /// How often was spliced so far.
    pub fn spliced(&self) -> u64 {
        self.tools.spliced
    }

    /// Reset everything.
    pub fn stop(&mut self, context: &Context) {
        let places: Vec<Place> = self.connections.places().map(|(place, _)| place).collect();
        for place in places {
            self.end(context, place, End::Drained, true);
        }
    }

    fn leave(&mut self, at: Tick, who: impl Fn(&Connection) -> bool) {
        let leaving: Vec<Place> =
            self.connections.places().filter(|(_, connection)| who(connection)).map(|(place, _)| place).collect();
        for place in leaving {
            if let Some(connection) = self.connections.get_mut(place) {
                connection.leave = if connection.leave == 0 { at } else { connection.leave.min(at) };
                deadlines::arm(connection, place, &mut self.wheel, at);
            }
        }
    }

    /// Move what a connection has to move, and do what follows from that.
    fn work(&mut self, context: &Context, place: Place) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        let patience = context.shared.config.timeouts.user_timeout;
        let next = match connection.stage {
            Stage::Dialling => return,
            Stage::Resetting(end, _) => transfer::reset(connection, end, &context.clock, patience),
            Stage::Open => transfer(connection, &mut self.tools, &context.clock, patience),
        };
        match next {
            Next::Close => return self.end(context, place, End::Done, false),
            Next::Reset(end) => return self.end(context, place, end, true),
            Next::Again | Next::Wait if self.share(context, place) => return,
            Next::Again | Next::Wait => {}
        }
        let Some(connection) = self.connections.get_mut(place) else { return };
        if next == Next::Again && !connection.queued {
            connection.queued = true;
            self.queue.push_back(place);
        }
        if !connection.watched && !connection.ways[1].writable {
            connection.watched = context.epoll.change(&connection.client, BOTH_EDGES, Kind::Client, place).is_ok();
        }
        let due = deadlines::due(connection, &context.shared.config.timeouts, &context.clock);
        deadlines::arm(connection, place, &mut self.wheel, due);
    }

    /// Close both sockets, or reset them, and forget the connection.
    fn end(&mut self, context: &Context, place: Place, end: End, reset: bool) {
        let Some(connection) = self.connections.remove(place) else { return };
        context.count(self.connections.len());
        if reset {
            // It fails only on a socket that is no connection any more.
            let _ = socket::reset_when_closed(&connection.client);
            let _ = connection.endpoint.as_ref().map(socket::reset_when_closed);
        }
        for direction in connection.ways {
            if let Some(pipe) = direction.pipe {
                self.tools.pipes.give(pipe);
            }
        }
        if connection.bulk {
            context.lane().bulk.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(flow) = connection.flow {
            flow.closed(end);
        }
        self.reopen(context);
    }
}
