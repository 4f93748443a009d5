// SPDX-License-Identifier: Apache-2.0
//! Whole packets, heads and all, for raw sockets.

use std::net::{IpAddr, SocketAddr};

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nobody listens there.
    Port,
    /// The host is not reached.
    Host,
}

/// The message that an address does not answer; None where the two are of different families.
///
/// It holds the head of the datagram as the client had sent it, by which the client's kernel finds the socket.
pub fn unreachable(client: SocketAddr, dialled: SocketAddr, why: Why) -> Option<Vec<u8>> {
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

/// A datagram from an address this host need not have; None where the two are of different families, or it is too long.
pub fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(8 + payload.len()).ok()?;
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    let body = [&ports, payload].concat();
    let whole = |head: Vec<u8>, pseudo: &[u8]| {
        let mut body = summed(body, 6, pseudo);
        // No checksum is written as nothing; one that is nothing as its other form.
        if body[6..8] == [0, 0] {
            body[6..8].fill(0xff);
        }
        [head, body].concat()
    };
    let [high, low] = length.to_be_bytes();
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let (from, to) = (from.octets(), to.octets());
            let pseudo = [&from[..], &to, &[0, 17, high, low]].concat();
            Some(whole(head_four(from, to, 17, length.checked_add(20)?), &pseudo))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let (from, to) = (from.octets(), to.octets());
            let pseudo = [&from[..], &to, &[0, 0, high, low, 0, 0, 0, 17]].concat();
            Some(whole(head_six(from, to, 17, length), &pseudo))
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
        let packet = unreachable(address("192.0.2.1:4660"), address("10.96.0.10:53"), Why::Port).unwrap();
        assert_eq!(packet.len(), 56);
        assert_eq!((sum(&packet[..20]), sum(&packet[20..]), sum(&packet[28..48])), (0xffff, 0xffff, 0xffff));
        assert_eq!(packet[12..20], [10, 96, 0, 10, 192, 0, 2, 1]);
        assert_eq!(packet[20..22], [3, 3]);
        assert_eq!(packet[40..], [192, 0, 2, 1, 10, 96, 0, 10, 0x12, 0x34, 0, 53, 0, 8, 0, 0]);
    }

    #[test]
    fn the_message_of_ipv6_holds_the_datagrams_head() {
        let packet = unreachable(address("[2001:db8::1]:4660"), address("[fd00::10]:53"), Why::Host).unwrap();
        assert_eq!(packet.len(), 96);
        assert_eq!((packet[6], packet[40], packet[41]), (58, 1, 3));
        let pseudo = [&packet[8..40], &[0, 0, 0, 56, 0, 0, 0, 58]].concat();
        assert_eq!(sum(&[&pseudo[..], &packet[40..]].concat()), 0xffff);
        assert_eq!(packet[88..92], [0x12, 0x34, 0, 53]);
    }

    #[test]
    fn datagrams_of_both_families_have_their_checksums() {
        let four = datagram(address("10.96.0.10:53"), address("192.0.2.1:4660"), b"odd").unwrap();
        assert_eq!((four.len(), sum(&four[..20])), (31, 0xffff));
        let pseudo = [&four[12..20], &[0, 17, 0, 11]].concat();
        assert_eq!(sum(&[&pseudo[..], &four[20..]].concat()), 0xffff);
        assert_eq!(four[28..], *b"odd");
        let six = datagram(address("[fd00::10]:53"), address("[2001:db8::1]:4660"), b"even").unwrap();
        let pseudo = [&six[8..40], &[0, 0, 0, 12, 0, 0, 0, 17]].concat();
        assert_eq!(sum(&[&pseudo[..], &six[40..]].concat()), 0xffff);
        for length in [65_520, 65_528] {
            assert_eq!(datagram(address("10.96.0.10:53"), address("192.0.2.1:4660"), &vec![0; length]), None);
        }
    }

    #[test]
    fn nothing_can_be_told_across_families() {
        assert_eq!(unreachable(address("192.0.2.1:1"), address("[fd00::10]:53"), Why::Port), None);
    }
}
