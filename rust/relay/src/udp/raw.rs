// SPDX-License-Identifier: Apache-2.0
//! What only a raw socket can send, under the address a client dialled.
//!
//! - That nobody answers: the relay stands between the client and the endpoint, so the endpoint's own ICMP message ends here,
//!   and the client is sent one as from the dialled address.
//! - An answer from a port that another program of this host has on every address, such as a resolver: no second socket can
//!   be bound there.
//!
//! Where that takes a right which the process lacks (`CAP_NET_RAW`), clients wait for their own time-outs.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::packet::{datagram, unreachable, Why};
use crate::sys::address::Raw;
use crate::sys::socket;
use crate::sys::udp::{send, Outgoing};
use crate::worker::timers::Tick;

/// Messages a tick: as the kernel's own, they are not to be had in any number.
const MOST: u32 = 100;

/// The raw sockets, opened when there is first something to send.
#[derive(Debug, Default)]
pub struct Messenger {
    four: Option<OwnedFd>,
    six: Option<OwnedFd>,
    tick: Tick,
    told: u32,
}

impl Messenger {
    /// Tell a client that nobody answers. Whether it hears of it nobody knows.
    pub fn tell(&mut self, client: SocketAddr, dialled: SocketAddr, why: Why, now: Tick) {
        if self.tick != now {
            (self.tick, self.told) = (now, 0);
        }
        self.told += 1;
        if let Some(packet) = unreachable(client, dialled, why).filter(|_| self.told <= MOST) {
            // Nothing can be done for a client that cannot be told.
            let _ = self.post(client, &packet);
        }
    }

    /// Send an answer. One that is longer than the way's packets is lost: raw packets are not cut.
    pub fn answer(&mut self, client: SocketAddr, dialled: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let packet = datagram(dialled, client, payload).ok_or(io::ErrorKind::InvalidInput)?;
        self.post(client, &packet)
    }

    fn post(&mut self, client: SocketAddr, packet: &[u8]) -> io::Result<()> {
        let (family, socket) = match client {
            SocketAddr::V4(_) => (libc::AF_INET, &mut self.four),
            SocketAddr::V6(_) => (libc::AF_INET6, &mut self.six),
        };
        let socket = match socket {
            Some(socket) => socket,
            None => socket.insert(socket::open_raw(family)?),
        };
        let mut to = client;
        // A raw socket takes the port for a protocol.
        to.set_port(0);
        let parts = [IoSlice::new(packet)];
        send(&*socket, &[Outgoing { to: Some(Raw::plain(to)), from: None, parts: &parts, segment: 0 }]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use super::*;
    use crate::udp::replies::Replies;

    #[test]
    fn an_answer_leaves_from_a_port_that_another_program_has() {
        let resolver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let dialled = SocketAddr::from((Ipv4Addr::LOCALHOST, resolver.local_addr().unwrap().port()));
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.connect(dialled).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();

        Replies::default().of(dialled).unwrap_err();
        let answered = Messenger::default().answer(client.local_addr().unwrap(), dialled, b"hello");
        if let Err(error) = answered {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            return;
        }
        let mut heard = [0; 8];
        assert_eq!(client.recv(&mut heard).unwrap(), 5);
        assert_eq!(&heard[..5], b"hello");
    }
}
