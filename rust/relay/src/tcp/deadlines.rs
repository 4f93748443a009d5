// SPDX-License-Identifier: Apache-2.0
//! What happens when nothing happens.

use std::time::Duration;

use super::connection::{Connection, Stage};
use super::transfer;
use super::{Tcp, Tick};
use crate::config::Timeouts;
use crate::listen;
use crate::stats::End;
use crate::sys::socket;
use crate::worker::context::Context;
use crate::worker::epoll::Place;
use crate::worker::timers::{ticks, Clock, Wheel};

/// After this long a connection counts as one that stays, and its endpoint's socket is told to ask whether the peer lives.
/// Most connections are gone by then and spared the calls.
const SETTLED: Duration = Duration::from_secs(1);

/// The tick at which a connection must be looked at next; 0: never.
pub fn due(connection: &Connection, timeouts: &Timeouts, clock: &Clock) -> Tick {
    let waited = match connection.stage {
        Stage::Dialling => connection.dial.as_ref().map_or(0, |dial| {
            let attempt = timeouts.attempt.saturating_sub(clock.now.saturating_duration_since(dial.attempted));
            let total = timeouts.dial.saturating_sub(clock.now.saturating_duration_since(dial.began));
            clock.tick + ticks(attempt.min(total))
        }),
        Stage::Resetting(_, deadline) => deadline.min(clock.tick + 1),
        Stage::Open if !connection.settled => connection.active + ticks(SETTLED),
        Stage::Open => silence(connection, timeouts).map_or(0, |silence| connection.active.saturating_add(ticks(silence))),
    };
    [waited, connection.leave].into_iter().filter(|&tick| tick != 0).min().unwrap_or(0)
}

/// How long a connection may be silent, if there is a limit.
fn silence(connection: &Connection, timeouts: &Timeouts) -> Option<Duration> {
    let ends = connection.ways.iter().any(|way| way.ended.is_some() || way.ending || way.broken || way.sunk);
    if ends {
        Some(timeouts.tcp_idle.map_or(timeouts.half_closed, |idle| idle.min(timeouts.half_closed)))
    } else {
        timeouts.tcp_idle
    }
}

/// See to it that a connection is visited by a tick. An earlier visit, whatever for, will do: it asks again.
pub fn arm(connection: &mut Connection, place: Place, wheel: &mut Wheel, due: Tick) {
    if due != 0 && (connection.armed == 0 || due < connection.armed) {
        connection.armed = wheel.arm(place, due);
    }
}

impl Tcp {
    /// Visit whoever is due.
    pub fn visit(&mut self, context: &mut Context) {
        while let Some((tick, mut places)) = self.wheel.due(context.clock.tick) {
            for place in places.drain(..) {
                if self.connections.get_mut(place).is_some_and(|connection| connection.armed == tick) {
                    self.visit_one(context, place);
                }
            }
            self.wheel.give(tick, places);
        }
        self.reopen_when_due(context);
    }

    /// The tick of the next visit.
    pub fn next_visit(&self) -> Option<Tick> {
        let door = self.door.opens();
        self.wheel.next().map_or(door, |visit| Some(door.map_or(visit, |door| door.min(visit))))
    }

    fn visit_one(&mut self, context: &mut Context, place: Place) {
        let timeouts = &context.shared.config.timeouts;
        let Some(connection) = self.connections.get_mut(place) else { return };
        connection.armed = 0;
        if connection.leave != 0 && context.clock.tick >= connection.leave {
            return self.end(context, place, End::Drained, true);
        }
        match connection.stage {
            Stage::Dialling => {
                if context.clock.tick >= due(connection, timeouts, &context.clock) {
                    return self.attempt_timed_out(context, place);
                }
            }
            Stage::Resetting(end, _) => {
                let patience = timeouts.user_timeout;
                if transfer::reset(connection, end, &context.clock, patience) != transfer::Next::Wait {
                    return self.end(context, place, end, true);
                }
            }
            Stage::Open if !connection.settled => {
                connection.settled = true;
                settle(connection, context.shared.config.user_timeout());
            }
            Stage::Open => {}
        }
        let next = due(connection, timeouts, &context.clock);
        if connection.stage == Stage::Open && next != 0 && next <= context.clock.tick {
            return self.end(context, place, End::Idle, true);
        }
        arm(connection, place, &mut self.wheel, next);
    }
}

/// Have the kernel notice when the endpoint dies. The client's socket inherited the same from its listener.
fn settle(connection: &Connection, user_timeout: i32) {
    let Some(endpoint) = &connection.endpoint else { return };
    // They fail only on a connection that is broken already.
    let _ = socket::set_option(endpoint, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
    let _ = socket::set_option(endpoint, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1);
    let _ = socket::set_option(endpoint, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, user_timeout);
    for (name, value) in listen::KEEPALIVE {
        let _ = socket::set_option(endpoint, libc::IPPROTO_TCP, name, value);
    }
}
