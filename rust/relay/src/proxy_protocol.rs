// SPDX-License-Identifier: Apache-2.0
//! The client's address for an endpoint that asks for it: a PROXY protocol header, version 2, ahead of the first byte.
//!
//! `header` is what the relay sends; `understand` reads what `header` writes, as an endpoint would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What every header of version 2 starts with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, a connection on somebody's behalf.
const PROXY: u8 = 0x21;

/// TCP over IPv4 and over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// Bytes before the addresses.
const FIXED: usize = 16;

/// The header of a client's connection to the address it dialled.
///
/// Where the two are of different families, the IPv4 one is written as IPv6 has it: mapped.
pub fn header(client: SocketAddr, dialled: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIXED + 36);
    bytes.extend(SIGNATURE);
    bytes.push(PROXY);
    match (client.ip(), dialled.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            bytes.extend([TCP4, 0, 12]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
        }
        (source, destination) => {
            bytes.extend([TCP6, 0, 36]);
            bytes.extend(six(source).octets());
            bytes.extend(six(destination).octets());
        }
    }
    bytes.extend(client.port().to_be_bytes());
    bytes.extend(dialled.port().to_be_bytes());
    bytes
}

fn six(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// A header that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Who connects.
    pub client: SocketAddr,
    /// What it dialled.
    pub dialled: SocketAddr,
    /// Where the connection's own bytes begin.
    pub length: usize,
}

/// Read a header from the beginning of a connection; None where there is none, or not all of it. Extensions are skipped.
pub fn understand(bytes: &[u8]) -> Option<Header> {
    let rest = bytes.strip_prefix(&SIGNATURE)?.strip_prefix(&[PROXY])?;
    let (&[family, high, low], rest) = rest.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let body = rest.get(..length)?;
    let (source, destination, ports) = match family {
        TCP4 => {
            let (source, body) = body.split_first_chunk::<4>()?;
            let (destination, body) = body.split_first_chunk::<4>()?;
            (Ipv4Addr::from(*source).into(), Ipv4Addr::from(*destination).into(), body)
        }
        TCP6 => {
            let (source, body) = body.split_first_chunk::<16>()?;
            let (destination, body) = body.split_first_chunk::<16>()?;
            (IpAddr::V6((*source).into()), IpAddr::V6((*destination).into()), body)
        }
        _ => return None,
    };
    let &[from_high, from_low, to_high, to_low] = ports.first_chunk::<4>()?;
    Some(Header {
        client: SocketAddr::new(source, u16::from_be_bytes([from_high, from_low])),
        dialled: SocketAddr::new(destination, u16::from_be_bytes([to_high, to_low])),
        length: FIXED + length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_header_is_the_specifications() {
        let bytes = header(address("192.0.2.1:4660"), address("10.96.0.10:80"));
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\x0a\x60\x00\x0a\x12\x34\x00\x50";
        assert_eq!(bytes, expected);
        let bytes = header(address("[2001:db8::1]:4660"), address("[fd00::10]:80"));
        assert_eq!(bytes[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24");
        assert_eq!(bytes.len(), 52);
    }

    #[test]
    fn what_is_written_is_understood() {
        for (client, dialled) in
            [("192.0.2.1:1", "10.96.0.10:65535"), ("[2001:db8::1]:1", "[fd00::10]:80"), ("192.0.2.1:7", "[fd00::10]:80")]
        {
            let mut bytes = header(address(client), address(dialled));
            let length = bytes.len();
            bytes.extend(b"GET /");
            let read = understand(&bytes).unwrap();
            assert_eq!(
                (read.client.ip().to_canonical(), read.client.port()),
                (address(client).ip(), address(client).port())
            );
            assert_eq!((read.dialled, read.length), (address(dialled), length));
            assert!((0..length).all(|cut| understand(&bytes[..cut]).is_none()));
        }
    }

    #[test]
    fn extensions_are_skipped() {
        let mut bytes = header(address("192.0.2.1:1"), address("10.96.0.10:80"));
        bytes[15] += 5;
        bytes.extend([4, 0, 2, 7, 7]);
        assert_eq!(understand(&bytes).unwrap().length, 33);
    }
}
