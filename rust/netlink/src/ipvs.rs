// SPDX-License-Identifier: Apache-2.0
//! IPVS: virtual and real servers over generic netlink, dumped and changed in batches.
//!
//! A batch is not a transaction: the kernel carries out one command after the other. `FLUSH` is not spoken here: it would
//! take everybody's servers.

mod change;
mod dump;
mod value;
mod wire;

pub use change::{Operation, Refusal};
pub use dump::Timeouts;
pub use value::{HeldReal, HeldServer, Key, Real, Server, Statistics, Target};

use crate::error::Error;
use crate::message::{self, Body, Header};
use crate::parse::Message;
use crate::socket::Socket;
use crate::Result;

/// Answers the socket may queue: every command of a piece may be refused.
const QUEUE: i32 = 1 << 20;

/// The door to IPVS in the network namespace of the thread that opened it.
pub struct Ipvs {
    socket: Socket,
    family: u16,
}

impl Ipvs {
    /// Open the door. The kernel loads its module for this where that is allowed; `ENOENT`: it has none.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::open(libc::NETLINK_GENERIC, QUEUE)?;
        let sequence = socket.sequences(1);
        let own = message::generic(wire::GET_FAMILY, wire::CONTROL_VERSION);
        let header = Header { kind: wire::CONTROL, flags: libc::NLM_F_ACK as u16, sequence, own };
        let mut bytes = Vec::new();
        message::append(&mut bytes, header, |body| body.put_text(wire::FAMILY_NAME, wire::NAME));
        let mut found = None;
        let refusals = socket.request(&bytes, sequence, |message| {
            found = found.or_else(|| family(&message));
            Ok(())
        })?;
        match (refusals.first(), found) {
            (None, Some(family)) => Ok(Self { socket, family }),
            (None, None) => Err(Error::new(libc::ENOENT, "the kernel does not tell the number of IPVS's netlink family")),
            (Some((_, verdict)), _) => Err(verdict.error("asking the kernel for IPVS")),
        }
    }

    fn append(&self, bytes: &mut Vec<u8>, command: u8, flags: u16, sequence: u32, body: impl FnOnce(&mut Body<'_>)) {
        let own = message::generic(command, wire::VERSION);
        message::append(bytes, Header { kind: self.family, flags, sequence, own }, body);
    }
}

/// The number of a family, as generic netlink tells it.
fn family(message: &Message<'_>) -> Option<u16> {
    message.attributes().find(|attribute| attribute.kind == wire::FAMILY_ID)?.native().map(|number| number as u16)
}

/// Read a message in every way there is.
#[cfg(test)]
pub(crate) fn read_for_test(message: &Message<'_>) {
    let _ = (family(message), dump::server(message), dump::real(message, 2), dump::real(message, 10));
    dump::read_timeouts(message, &mut [0; 3]);
}

#[cfg(test)]
mod tests;
