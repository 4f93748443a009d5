// SPDX-License-Identifier: Apache-2.0
//! Which descriptors a worker waits for, and how an event finds what it is about.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::sys::epoll::{self, Event};

/// Events taken at a time.
const BATCH: usize = 256;

/// Generations that a token tells apart.
pub const GENERATIONS: u32 = 1 << 24;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Another thread has left a message.
    Mailbox,
    /// A client dials.
    Listener,
    /// The client's end of a connection.
    Client,
    /// The endpoint's end of a connection.
    Endpoint,
    /// Datagrams for frontends.
    Datagrams,
    /// Datagrams of one flow's endpoint.
    Flow,
}

const KINDS: [Kind; 6] = [Kind::Mailbox, Kind::Listener, Kind::Client, Kind::Endpoint, Kind::Datagrams, Kind::Flow];

/// A place in a slab and the generation that lived there: an event of one long gone finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which place.
    pub index: u32,
    /// Which of those that lived there, below `GENERATIONS`.
    pub generation: u32,
}

/// What has happened.
#[derive(Debug, Clone, Copy)]
pub struct Happened(u32);

impl Happened {
    /// There is something to read, or an end to be read.
    pub fn readable(self) -> bool {
        self.has(libc::EPOLLIN)
    }

    /// There is room to write, or an error to be met by writing.
    pub fn writable(self) -> bool {
        self.has(libc::EPOLLOUT)
    }

    /// The peer has said its last word: whatever is there now is all there will be.
    pub fn ending(self) -> bool {
        self.has(libc::EPOLLRDHUP)
    }

    /// The connection is broken.
    pub fn broken(self) -> bool {
        self.has(libc::EPOLLERR)
    }

    /// Both ways are shut.
    pub fn shut(self) -> bool {
        self.has(libc::EPOLLHUP)
    }

    /// There are urgent bytes: a read stops before them, so a short one does not mean that nothing more is there.
    pub fn urgent(self) -> bool {
        self.has(libc::EPOLLPRI)
    }

    fn has(self, flag: libc::c_int) -> bool {
        self.0 & bits(flag) != 0
    }
}

/// One worker's epoll.
#[derive(Debug)]
pub struct Epoll {
    descriptor: OwnedFd,
}

/// A descriptor that stays readable is told of again and again.
pub const LEVEL: u32 = bits(libc::EPOLLIN);

/// What is told once each time it becomes so.
pub const READ_EDGE: u32 = bits(libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET);

/// As well when there is room to write.
pub const BOTH_EDGES: u32 = READ_EDGE | bits(libc::EPOLLOUT);

/// Nothing but errors, while a listener pauses.
pub const PAUSED: u32 = 0;

impl Epoll {
    /// An empty one.
    pub fn open() -> io::Result<Self> {
        Ok(Self { descriptor: epoll::open()? })
    }

    /// Wait for a descriptor. It leaves by being closed, unless another process holds it, too.
    pub fn add(&self, of: impl AsFd, flags: u32, kind: Kind, place: Place) -> io::Result<()> {
        epoll::control(&self.descriptor, libc::EPOLL_CTL_ADD, of, flags, pack(kind, place))
    }

    /// Wait for other things to happen to it.
    pub fn change(&self, of: impl AsFd, flags: u32, kind: Kind, place: Place) -> io::Result<()> {
        epoll::control(&self.descriptor, libc::EPOLL_CTL_MOD, of, flags, pack(kind, place))
    }

    /// Wait for it no more.
    pub fn remove(&self, of: impl AsFd) -> io::Result<()> {
        epoll::control(&self.descriptor, libc::EPOLL_CTL_DEL, of, 0, 0)
    }

    /// Wait until something happens or the milliseconds pass (-1: for ever).
    pub fn wait<'a>(
        &self,
        batch: &'a mut Batch,
        milliseconds: i32,
    ) -> impl Iterator<Item = (Kind, Place, Happened)> + use<'a> {
        // A signal is as good as a time-out: the loop comes back.
        let count = epoll::wait(&self.descriptor, &mut batch.0, milliseconds).unwrap_or(0);
        batch.0[..count].iter().filter_map(|event| {
            let (kind, place) = unpack(event.u64)?;
            Some((kind, place, Happened(event.events)))
        })
    }
}

/// Room for events.
pub struct Batch([Event; BATCH]);

impl Default for Batch {
    fn default() -> Self {
        Self([epoll::NOTHING; BATCH])
    }
}

/// Flags as epoll counts them; the C library has them as signed numbers.
const fn bits(flags: libc::c_int) -> u32 {
    u32::from_ne_bytes(flags.to_ne_bytes())
}

fn pack(kind: Kind, place: Place) -> u64 {
    u64::from(kind as u8) << 56 | u64::from(place.generation) << 32 | u64::from(place.index)
}

fn unpack(number: u64) -> Option<(Kind, Place)> {
    let kind = *KINDS.get((number >> 56) as usize)?;
    Some((kind, Place { index: number as u32, generation: (number >> 32) as u32 % GENERATIONS }))
}
