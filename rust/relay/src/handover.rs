// SPDX-License-Identifier: Apache-2.0
//! Sockets passed to the next process over a Unix socket: it listens before this one stops, and nothing queued is lost.
//!
//! New sockets beside the old ones would not do: closing a listener resets what waits in its queue. The descriptors travel
//! beside a description of two bytes each, in one message.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use crate::error::{Error, Result};
use crate::listen::Bound;
use crate::sys::rights;
use crate::table::{Protocol, Scope};

/// What a description starts with: the sender's name and the version of all that follows.
const HEAD: [u8; 8] = *b"kprelay\x01";

/// The sockets of a relay that is being relieved.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Whatever it listened on.
    pub sockets: Vec<Bound>,
}

impl Inherited {
    /// Pass the sockets on. They stay open here, too.
    pub fn send(&self, channel: impl AsFd) -> Result<()> {
        let description = describe(self.sockets.iter().map(|bound| (bound.protocol, bound.scope)));
        let numbers: Vec<RawFd> = self.sockets.iter().map(|bound| bound.socket.as_raw_fd()).collect();
        match rights::send(channel, &description, &numbers) {
            Ok(sent) if sent == description.len() => Ok(()),
            Ok(_) => Err(Error::new(libc::EMSGSIZE, "handing the relay's sockets over: the message was cut")),
            Err(error) => Err(Error::system(&error, "handing the relay's sockets over")),
        }
    }

    /// Take over what another process sends.
    pub fn receive(channel: impl AsFd) -> Result<Self> {
        let mut bytes = [0; HEAD.len() + 2 * rights::MOST];
        let (count, descriptors) = rights::receive(channel, &mut bytes)
            .map_err(|error| Error::system(&error, "taking over the relay's sockets"))?;
        let kinds = understand(&bytes[..count])?;
        if kinds.len() != descriptors.len() {
            let text = format!("the relay to be relieved sent {} sockets and told of {}", descriptors.len(), kinds.len());
            return Err(Error::new(libc::EBADMSG, text));
        }
        let bound = |((protocol, scope), socket)| Bound { protocol, scope, socket };
        Ok(Self { sockets: kinds.into_iter().zip(descriptors).map(bound).collect() })
    }
}

fn describe(sockets: impl Iterator<Item = (Protocol, Scope)>) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    for (protocol, scope) in sockets {
        bytes.push(u8::from(protocol == Protocol::Udp));
        bytes.push(u8::from(scope == Scope::Local));
    }
    bytes
}

/// Read a description. Anything may be in there: the other process may be of another version.
pub fn understand(bytes: &[u8]) -> Result<Vec<(Protocol, Scope)>> {
    let other = || {
        let text = "the relay to be relieved speaks another version of the hand-over; stop it, then start this one";
        Error::new(libc::EPROTO, text)
    };
    let sockets = bytes.strip_prefix(&HEAD).ok_or_else(other)?.chunks(2);
    let socket = |pair: &[u8]| match *pair {
        [protocol @ 0..=1, scope @ 0..=1] => Ok((
            if protocol == 0 { Protocol::Tcp } else { Protocol::Udp },
            if scope == 0 { Scope::All } else { Scope::Local },
        )),
        _ => Err(other()),
    };
    sockets.map(socket).collect()
}

#[cfg(test)]
mod tests;
