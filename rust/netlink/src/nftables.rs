// SPDX-License-Identifier: Apache-2.0
//! nftables' elements: changed as atomic batches, read back by key or whole, watched.

mod batch;
mod element;
mod monitor;
mod read;
mod transaction;
mod wire;

pub use batch::{Batch, Operation};
pub use element::{Element, NewElement};
pub use monitor::{Change, Monitor};

use crate::socket::Socket;
use crate::Result;

/// Answers one socket may queue: a read by key queues one datagram per key.
const QUEUE: i32 = 4 << 20;

/// The door to nftables in the network namespace of the thread that opened it.
pub struct Nftables {
    socket: Socket,
}

impl Nftables {
    /// Open the door.
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::open(libc::NETLINK_NETFILTER, QUEUE)? })
    }

    /// The number by which notifications name what this socket does.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }
}

/// Read a message in every way there is.
#[cfg(test)]
pub(crate) fn read_for_test(message: &crate::parse::Message<'_>) {
    read::read_for_test(message);
    monitor::read_for_test(message);
}
