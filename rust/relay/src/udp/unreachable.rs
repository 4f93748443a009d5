// SPDX-License-Identifier: Apache-2.0
//! A client is told that nobody answers: the ICMP message it would get from the address it dialled.
//!
//! The relay stands between the client and the endpoint, so the endpoint's own message ends here. A raw socket writes one as
//! from the dialled address, with the head of the datagram as the client had sent it, by which its kernel finds the socket.
//! Where that takes a right which the process lacks (`CAP_NET_RAW`), clients wait for their own time-outs.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::sys::address::Raw;
use crate::sys::socket;
use crate::sys::udp::{send, Outgoing};
use crate::worker::timers::Tick;

/// Messages a tick: as the kernel's own, they are not to be had in any number.
const MOST: u32 = 100;

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nobody listens there.
    Port,
    /// The host is not reached.
    Host,
}

/// The raw sockets, opened when there is first something to tell.
#[derive(Debug, Default)]
pub struct Messenger {
    four: Option<OwnedFd>,
    six: Option<OwnedFd>,
    tick: Tick,
    told: u32,
}

impl Messenger {
    /// Tell a client. Whether it hears of it nobody knows.
    pub fn tell(&mut self, client: SocketAddr, dialled: SocketAddr, why: Why, now: Tick) {
        if self.tick != now {
            (self.tick, self.told) = (now, 0);
        }
        self.told += 1;
        let Some(packet) = packet(client, dialled, why).filter(|_| self.told <= MOST) else { return };
        let (family, socket) = match client {
            SocketAddr::V4(_) => (libc::AF_INET, &mut self.four),
            SocketAddr::V6(_) => (libc::AF_INET6, &mut self.six),
        };
        if socket.is_none() {
            *socket = socket::open_raw(family).ok();
        }
        let Some(socket) = socket else { return };
        let mut to = client;
        // A raw socket takes the port for a protocol.
        to.set_port(0);
        let parts = [IoSlice::new(&packet)];
        // Nothing can be done for a client that cannot be told.
        let _ = send(&*socket, &[Outgoing { to: Some(Raw::plain(to)), from: None, parts: &parts, segment: 0 }]);
    }
}

/// The whole packet; None where the two are of different families.
pub fn packet(client: SocketAddr, dialled: SocketAddr, why: Why) -> Option<Vec<u8>> {
    let datagram = [client.port().to_be_bytes(), dialled.port().to_be_bytes(), [0, 8], [0, 0]].concat();
    match (client.ip(), dialled.ip()) {
        (IpAddr::V4(client), IpAddr::V4(dialled)) => {
            let (client, dialled) = (client.octets(), dialled.octets());
            let code = if why == Why::Port { 3 } else { 1 };
            let inner = [head_four(client, dialled, 17, 28), datagram].concat();
            let message = summed([vec![3, code, 0, 0, 0, 0, 0, 0], inner].concat(), 2, &[]);
            Some([head_four(dialled, client, 1, 20 + message.len() as u16), message].concat())
        }
        (IpAddr::V6(client), IpAddr::V6(dialled)) => {
            let (client, dialled) = (client.octets(), dialled.octets());
            let code = if why == Why::Port { 4 } else { 3 };
            let inner = [head_six(client, dialled, 17, 8), datagram].concat();
            let message = [vec![1, code, 0, 0, 0, 0, 0, 0], inner].concat();
            let length = message.len() as u16;
            let pseudo = [&dialled[..], &client, &u32::from(length).to_be_bytes(), &[0, 0, 0, 58]].concat();
            Some([head_six(dialled, client, 58, length), summed(message, 2, &pseudo)].concat())
        }
        _ => None,
    }
}

/// An IPv4 head: no fragment, 64 hops.
fn head_four(from: [u8; 4], to: [u8; 4], protocol: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let fixed = [0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
    summed([&fixed[..], &from, &to].concat(), 10, &[])
}

/// An IPv6 head: 64 hops.
fn head_six(from: [u8; 16], to: [u8; 16], protocol: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    [&[0x60, 0, 0, 0, high, low, protocol, 64][..], &from, &to].concat()
}

/// Bytes with the Internet checksum (RFC 1071) of them, and of others that come before them, at a place.
fn summed(mut bytes: Vec<u8>, at: usize, before: &[u8]) -> Vec<u8> {
    let words = before.chunks(2).chain(bytes.chunks(2));
    let mut sum: u32 = words.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    bytes[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The sum of bytes that hold their own checksum: all ones.
    fn sum(bytes: &[u8]) -> u16 {
        let total: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
        ((total & 0xffff) + (total >> 16)) as u16
    }

    #[test]
    fn the_message_of_ipv4_holds_the_datagrams_head() {
        let packet = packet(address("192.0.2.1:4660"), address("10.96.0.10:53"), Why::Port).unwrap();
        assert_eq!(packet.len(), 56);
        assert_eq!((sum(&packet[..20]), sum(&packet[20..]), sum(&packet[28..48])), (0xffff, 0xffff, 0xffff));
        assert_eq!(packet[12..20], [10, 96, 0, 10, 192, 0, 2, 1]);
        assert_eq!(packet[20..22], [3, 3]);
        assert_eq!(packet[40..], [192, 0, 2, 1, 10, 96, 0, 10, 0x12, 0x34, 0, 53, 0, 8, 0, 0]);
    }

    #[test]
    fn the_message_of_ipv6_holds_the_datagrams_head() {
        let packet = packet(address("[2001:db8::1]:4660"), address("[fd00::10]:53"), Why::Host).unwrap();
        assert_eq!(packet.len(), 96);
        assert_eq!((packet[6], packet[40], packet[41]), (58, 1, 3));
        let pseudo = [&packet[8..40], &[0, 0, 0, 56, 0, 0, 0, 58]].concat();
        assert_eq!(sum(&[&pseudo[..], &packet[40..]].concat()), 0xffff);
        assert_eq!(packet[88..92], [0x12, 0x34, 0, 53]);
    }

    #[test]
    fn nothing_can_be_told_across_families() {
        assert_eq!(packet(address("192.0.2.1:1"), address("[fd00::10]:53"), Why::Port), None);
    }
}
