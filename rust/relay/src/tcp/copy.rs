// SPDX-License-Identifier: Apache-2.0
//! Bytes through the worker's scratch buffer: best for short exchanges, where splicing costs two heavier calls.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use super::connection::{Delay, Direction, Ending};
use crate::sys::{socket, stream};

/// Full reads in a row after which a way is spliced.
const BULK: u8 = 2;

/// What surely fits one packet: of several, the last would wait until those before are confirmed.
const SMALL: usize = 1200;

/// Move what one read brings, or what an earlier one left. Returns the bytes sent.
pub fn round(direction: &mut Direction, source: &OwnedFd, sink: &OwnedFd, scratch: &mut [u8]) -> usize {
    if !direction.tail.is_empty() {
        return send_tail(direction, sink);
    }
    let count = match stream::receive(source, scratch) {
        Ok(count) => count,
        Err(error) => {
            match error.kind() {
                ErrorKind::WouldBlock => direction.readable = false,
                ErrorKind::Interrupted => {}
                _ => direction.ended = Some(Ending::Reset),
            }
            return 0;
        }
    };
    note_read(direction, count, scratch.len());
    if count == 0 {
        return 0;
    }
    let sent = send(direction, sink, &scratch[..count]);
    if sent < count && !direction.sunk {
        direction.tail = scratch[sent..count].into();
    }
    sent
}

/// What a read of so many bytes into a buffer of that size tells of the source.
pub fn note_read(direction: &mut Direction, count: usize, size: usize) {
    let plain = !direction.broken && !direction.urgent;
    if count == 0 {
        direction.ended = Some(if direction.broken { Ending::Reset } else { Ending::Finished });
    } else if count == size {
        direction.full = direction.full.saturating_add(1);
        direction.bulk = direction.full >= BULK;
    } else {
        direction.full = 0;
        if plain && direction.ending {
            // The last word came before this read, which left nothing: no further read is needed to see the end.
            direction.ended = Some(Ending::Finished);
        } else if plain {
            direction.readable = false;
        }
    }
}

fn send_tail(direction: &mut Direction, sink: &OwnedFd) -> usize {
    let tail = std::mem::take(&mut direction.tail);
    let sent = send(direction, sink, &tail[direction.sent as usize..]);
    direction.sent += sent as u32;
    if direction.sunk || direction.sent as usize == tail.len() {
        direction.sent = 0;
    } else {
        direction.tail = tail;
    }
    sent
}

/// Send what the sink takes. The last bytes of a source wait for the end that follows them, so that both are one packet.
fn send(direction: &mut Direction, sink: &OwnedFd, bytes: &[u8]) -> usize {
    if direction.delay == Delay::Next || (direction.delay == Delay::First && bytes.len() > SMALL) {
        // A connection of one small request never comes here and is spared the call.
        let _ = socket::set_option(sink, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        direction.delay = Delay::Off;
    }
    let last = direction.ended == Some(Ending::Finished);
    match stream::send(sink, bytes, last) {
        Ok(sent) => {
            direction.writable = sent == bytes.len();
            if direction.delay == Delay::First {
                direction.delay = Delay::Next;
            }
            sent
        }
        Err(error) => {
            match error.kind() {
                ErrorKind::WouldBlock => direction.writable = false,
                ErrorKind::Interrupted => {}
                _ => direction.break_sink(),
            }
            0
        }
    }
}
