// SPDX-License-Identifier: Apache-2.0
//! What an open connection does when something has happened to it: move bytes both ways, then pass on the ends.

use std::os::fd::OwnedFd;

use super::connection::{Connection, Direction, Ending, Stage, WAYS};
use super::{backlog, copy, splice, Tools};
use crate::stats::{End, Way};
use crate::sys::{socket, stream};
use crate::worker::timers::{ticks, Clock};

/// Bytes of one way after which other connections have their turn.
const TURN: usize = 1024 * 1024;

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Leave it until something happens.
    Wait,
    /// Come back to it after the others.
    Again,
    /// Close both sockets in peace.
    Close,
    /// Reset both sockets.
    Reset(End),
}

/// Move what can be moved.
pub fn transfer(connection: &mut Connection, tools: &mut Tools, clock: &Clock, patience: std::time::Duration) -> Next {
    let Some(endpoint) = &connection.endpoint else { return Next::Wait };
    let mut again = false;
    // A sink that turns out to be broken gives the other way something to do.
    for _ in 0..2 {
        for way in WAYS {
            let (source, sink) = match way {
                Way::Up => (&connection.client, endpoint),
                Way::Down => (endpoint, &connection.client),
            };
            let direction = &mut connection.ways[way as usize];
            let (moved, more) = pump(direction, source, sink, tools);
            again |= more;
            if moved > 0 {
                connection.active = clock.tick;
                if let Some(flow) = &connection.flow {
                    flow.moved(way, moved as u64);
                    if way == Way::Down && !connection.answered {
                        connection.answered = true;
                        flow.first_byte(clock.now.saturating_duration_since(connection.opened));
                        if connection.hasty && direction.ended.is_none() {
                            // More may be to come, and a sender that waits for confirmation is not to wait for ours.
                            let _ = socket::set_option(endpoint, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1);
                        }
                    }
                }
            }
        }
        if !spread_breaks(&mut connection.ways) {
            break;
        }
    }
    match pass_on_ends(connection) {
        Next::Wait if again => Next::Again,
        Next::Reset(end) => reset(connection, end, clock, patience),
        next => next,
    }
}

/// Move one way's bytes until there are none, nobody takes them, or others must have their turn.
fn pump(direction: &mut Direction, source: &OwnedFd, sink: &OwnedFd, tools: &mut Tools) -> (usize, bool) {
    if direction.stalled() && !direction.bounded {
        direction.bounded = backlog::bound(source);
    }
    let mut moved = 0;
    while moved < TURN {
        if !direction.may_move() {
            return (moved, false);
        }
        let spliced = if direction.pipe.is_some() || (direction.bulk && direction.tail.is_empty()) {
            tools.spliced += 1;
            splice::round(direction, source, sink, &mut tools.pipes)
        } else {
            None
        };
        moved += spliced.unwrap_or_else(|| copy::round(direction, source, sink, &mut tools.scratch[..]));
    }
    (moved, direction.may_move())
}

/// A side that takes nothing any more gives nothing new either. True: something was learned by that.
fn spread_breaks(ways: &mut [Direction; 2]) -> bool {
    let mut learned = false;
    for (one, other) in [(0, 1), (1, 0)] {
        if ways[one].sunk && !ways[other].broken {
            ways[other].break_source();
            learned = true;
        }
    }
    learned
}

fn pass_on_ends(connection: &mut Connection) -> Next {
    for (way, end) in [(Way::Up, End::ClientReset), (Way::Down, End::EndpointReset)] {
        if connection.ways[way as usize].reached(Ending::Reset) {
            return Next::Reset(end);
        }
    }
    let (up, down) = connection.up_and_down();
    if up.reached(Ending::Finished) && down.reached(Ending::Finished) {
        // Closing says the last word to whoever has not heard it.
        return Next::Close;
    }
    for way in WAYS {
        let direction = &mut connection.ways[way as usize];
        if direction.reached(Ending::Finished) && !direction.told {
            direction.told = true;
            let sink = match way {
                Way::Up => connection.endpoint.as_ref(),
                Way::Down => Some(&connection.client),
            };
            // It fails only where the sink is broken, which is told by an event of its own.
            let _ = sink.map(stream::finish);
        }
    }
    Next::Wait
}

/// One side is gone. The other must have everything that was sent before; resetting it now would throw that away.
pub fn reset(connection: &mut Connection, end: End, clock: &Clock, patience: std::time::Duration) -> Next {
    let other = if end == End::ClientReset { connection.endpoint.as_ref() } else { Some(&connection.client) };
    let (deadline, way) = match connection.stage {
        Stage::Resetting(_, deadline) => (deadline, end),
        _ => (clock.tick.saturating_add(ticks(patience)), end),
    };
    let sunk = connection.ways[usize::from(end != End::ClientReset)].sunk;
    let heard = |other| stream::unconfirmed(other).map_or(true, |bytes| bytes == 0) || stream::gone(other).unwrap_or(true);
    let confirmed = sunk || other.is_none_or(heard);
    if confirmed || clock.tick >= deadline {
        return Next::Reset(end);
    }
    connection.stage = Stage::Resetting(way, deadline);
    Next::Wait
}
