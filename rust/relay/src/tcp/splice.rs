// SPDX-License-Identifier: Apache-2.0
//! Bytes through a pipe, inside the kernel: a third of the cost of copying them, once there are many.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use super::connection::{Direction, Ending};
use super::pipes::{Pipe, Pipes};
use crate::sys::pipe::splice;

/// A source that ran dry after fewer bytes than this is copied again.
const FEW: usize = 4096;

/// Gather what has come, pass it on. None: there is no pipe to be had. Else the bytes that were sent.
pub fn round(direction: &mut Direction, source: &OwnedFd, sink: &OwnedFd, pipes: &mut Pipes) -> Option<usize> {
    let mut pipe = direction.pipe.take().or_else(|| pipes.take())?;
    let came = gather(direction, source, &mut pipe);
    let sent = pass_on(direction, sink, &mut pipe);
    let over = !direction.readable || direction.ended.is_some();
    if direction.sunk || (pipe.held == 0 && over) {
        pipes.give(pipe);
    } else {
        direction.pipe = Some(pipe);
    }
    if came > 0 && came < FEW && over {
        direction.bulk = false;
        direction.full = 0;
    }
    Some(sent)
}

/// Fill the pipe until the source is dry: the more goes out at once, the larger the packets the receiver sees.
fn gather(direction: &mut Direction, source: &OwnedFd, pipe: &mut Pipe) -> usize {
    let mut came = 0;
    while direction.readable && direction.ended.is_none() && pipe.held < pipe.room {
        match splice(source, &pipe.write, (pipe.room - pipe.held) as usize) {
            Ok(0) => direction.ended = Some(if direction.broken { Ending::Reset } else { Ending::Finished }),
            Ok(count) => {
                pipe.held += count as u32;
                came += count;
            }
            Err(error) => match error.kind() {
                // A pipe may be full before it holds what it has room for: only an empty one shows that the source is dry.
                ErrorKind::WouldBlock => {
                    direction.readable = pipe.held > 0;
                    break;
                }
                ErrorKind::Interrupted => {}
                _ => direction.ended = Some(Ending::Reset),
            },
        }
    }
    came
}

fn pass_on(direction: &mut Direction, sink: &OwnedFd, pipe: &mut Pipe) -> usize {
    let mut sent = 0;
    while pipe.held > 0 && direction.writable && !direction.sunk {
        match splice(&pipe.read, sink, pipe.held as usize) {
            // A sink that takes nothing and does not say why would be asked for ever.
            Ok(0) => direction.break_sink(),
            Ok(count) => {
                pipe.held -= count as u32;
                sent += count;
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => direction.writable = false,
                ErrorKind::Interrupted => {}
                _ => direction.break_sink(),
            },
        }
    }
    sent
}
