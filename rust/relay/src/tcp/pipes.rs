// SPDX-License-Identifier: Apache-2.0
//! A worker's pipes. A way has one only while it is full of bytes; making one for each connection would cost more than a
//! short connection does.

use std::os::fd::OwnedFd;

use crate::sys::pipe;

/// Pipes of one worker; ways beyond are copied.
const MOST: usize = 128;

/// The first of them are large: the speed of one connection needs it.
const LARGE: usize = 16;

/// What a large pipe holds, and what the others do. All of a user's pipes together may hold 64 MiB without a privilege.
const ROOM: [i32; 2] = [1024 * 1024, 256 * 1024];

/// A pipe.
#[derive(Debug)]
pub struct Pipe {
    /// Where bytes leave it.
    pub read: OwnedFd,
    /// Where they enter it.
    pub write: OwnedFd,
    /// Bytes it has room for, in whole pages.
    pub room: u32,
    /// Bytes in it.
    pub held: u32,
}

/// A worker's pipes.
#[derive(Debug, Default)]
pub struct Pipes {
    idle: Vec<Pipe>,
    open: usize,
}

impl Pipes {
    /// An empty pipe, unless there are too many or no descriptors left for one.
    pub fn take(&mut self) -> Option<Pipe> {
        if let Some(idle) = self.idle.pop() {
            return Some(idle);
        }
        if self.open >= MOST {
            return None;
        }
        let (read, write) = pipe::open().ok()?;
        let room = pipe::resize(&write, ROOM[usize::from(self.open >= LARGE)]).ok()?;
        self.open += 1;
        Some(Pipe { read, write, room: room as u32, held: 0 })
    }

    /// Give one back. One that is not empty is closed: nobody wants what is in it.
    pub fn give(&mut self, pipe: Pipe) {
        if pipe.held == 0 {
            self.idle.push(pipe);
        } else {
            self.open -= 1;
        }
    }

    /// One goes to another worker, if there is something in it.
    pub fn part(&mut self, pipe: Pipe) -> Option<Pipe> {
        if pipe.held == 0 {
            self.give(pipe);
            return None;
        }
        self.open -= 1;
        Some(pipe)
    }

    /// One comes from another worker.
    pub fn join(&mut self) {
        self.open += 1;
    }

    /// Pipes that some way has at the moment.
    pub fn taken(&self) -> usize {
        self.open - self.idle.len()
    }
}
