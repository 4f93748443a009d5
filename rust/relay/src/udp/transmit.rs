// SPDX-License-Identifier: Apache-2.0
//! Datagrams of a batch sent on, in as few calls as may be.

use std::io::{self, IoSlice};
use std::net::Ipv6Addr;
use std::os::fd::AsFd;

use super::control;
use super::runs::{join, Message};
use crate::sys::address::Raw;
use crate::sys::udp::{self, Batch, Outgoing};

/// To whom, and from where. Nothing where the socket knows.
#[derive(Clone, Copy, Default)]
pub struct Letter {
    pub to: Option<Raw>,
    pub from: Option<Ipv6Addr>,
}

/// Send datagrams of a batch. Returns the bytes that left.
///
/// What there is no room for is dropped: datagrams may be. `segmenting` becomes false where the kernel will not cut them,
/// such as for a path with a smaller packet size. An error is one that the peer or the way to it gave back; what it was
/// given for may have been sent long ago, and nothing that follows it has been sent.
pub fn transmit(
    socket: impl AsFd + Copy,
    batch: &Batch,
    which: &[usize],
    letter: Letter,
    segmenting: &mut bool,
) -> io::Result<u64> {
    let parts: Vec<IoSlice<'_>> = which.iter().map(|&index| IoSlice::new(batch.payload(index))).collect();
    let segment = |index: usize| control::understand(batch.control(index)).segment;
    let messages: Vec<Message> =
        which.iter().map(|&index| Message { length: batch.payload(index).len(), segment: segment(index) }).collect();
    let outgoing = |parts, segment| Outgoing { to: letter.to, from: letter.from, parts, segment };
    if !*segmenting {
        return one_by_one(socket, batch, which, letter);
    }
    let runs = join(&messages);
    let all: Vec<Outgoing<'_>> = runs.iter().map(|run| outgoing(&parts[run.messages.clone()], run.segment)).collect();
    let mut next = 0;
    while next < all.len() {
        match udp::send(socket, &all[next..]) {
            Ok(count) => next += count,
            Err(error) if all[next].segment > 0 && uncut(&error) => {
                *segmenting = false;
                return Ok(sent(&all[..next]) + one_by_one(socket, batch, &which[runs[next].messages.start..], letter)?);
            }
            Err(error) if full(&error) => break,
            Err(error) if passing(&error) => next += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(sent(&all[..next]))
}

fn sent(messages: &[Outgoing<'_>]) -> u64 {
    messages.iter().flat_map(|message| message.parts).map(|part| part.len() as u64).sum()
}

/// Send each datagram by itself.
fn one_by_one(socket: impl AsFd + Copy, batch: &Batch, which: &[usize], letter: Letter) -> io::Result<u64> {
    each(batch, which, |datagram| {
        let parts = [IoSlice::new(datagram)];
        udp::send(socket, &[Outgoing { to: letter.to, from: letter.from, parts: &parts, segment: 0 }]).map(drop)
    })
}

/// Have each datagram sent in a way of the caller's. Returns the bytes that left.
pub fn each(batch: &Batch, which: &[usize], mut send: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let mut bytes = 0;
    for &index in which {
        let mut rest = batch.payload(index);
        let size = control::understand(batch.control(index)).segment.map_or(rest.len(), usize::from);
        loop {
            let (datagram, after) = rest.split_at(size.min(rest.len()));
            match send(datagram) {
                Ok(()) => bytes += datagram.len() as u64,
                Err(error) if full(&error) || passing(&error) => {}
                Err(error) => return Err(error),
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
    }
    Ok(bytes)
}

/// The kernel will not cut this into datagrams.
fn uncut(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE | libc::EOPNOTSUPP))
}

/// There is no room now.
fn full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}

/// It concerns one datagram only: it is too long, or a rule of this host forbids it.
fn passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::EPERM | libc::EACCES | libc::EINTR | libc::EINVAL))
}
