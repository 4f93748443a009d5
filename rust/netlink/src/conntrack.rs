// SPDX-License-Identifier: Apache-2.0
//! Flows of the connection tracker: listed with constant memory, the stale ones deleted.
//!
//! The kernel filters by protocol, and by destination where few are looked for (both since Linux 5.8; an older kernel shows
//! everything, which is looked through here). A flow that is looked for is found by its first two attributes; nothing else
//! of a flow is read unless it goes.

mod flow;
mod lookup;
mod rules;
mod sweep;
mod wire;

pub use flow::{address, Destination, Flow, Tuple};
pub use rules::{destination, Rules};
pub use sweep::Swept;

use crate::socket::Socket;
use crate::Result;

/// Answers a socket may queue.
const QUEUE: i32 = 1 << 20;

/// The door to the connection tracker in the network namespace of the thread that opened it.
pub struct Conntrack {
    listing: Socket,
    deleting: Socket, // a dump in progress keeps its socket busy
}

impl Conntrack {
    /// Open the door.
    pub fn open() -> Result<Self> {
        Ok(Self {
            listing: Socket::open(libc::NETLINK_NETFILTER, QUEUE)?,
            deleting: Socket::open(libc::NETLINK_NETFILTER, QUEUE)?,
        })
    }
}

/// Read a message in every way there is.
#[cfg(test)]
pub(crate) fn read_for_test(message: &crate::parse::Message<'_>) {
    let message = crate::parse::Message { kind: wire::NEW, ..*message };
    let _ = flow::Shown::read(&message).map(|shown| shown.name().0);
}
