// SPDX-License-Identifier: Apache-2.0
//! What the kernel tells beside a datagram: where it was sent to, and how it was merged.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// What was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// The address the client sent it to.
    pub dialled: Option<SocketAddr>,
    /// The size of the datagrams that were merged; the last one may be shorter. None: it is one.
    pub segment: Option<u16>,
}

/// Bytes of a message's length, and what it is rounded up to.
const WORD: usize = size_of::<usize>();

/// Bytes of a message's head: its length, level and kind.
const HEAD: usize = WORD + 8;

/// Read control messages. What is cut short ends them, and what is not known is passed over.
pub fn understand(mut bytes: &[u8]) -> Told {
    let mut told = Told::default();
    while let Some((head, _)) = bytes.split_at_checked(HEAD) {
        let length = head.first_chunk().map_or(0, |word| usize::from_ne_bytes(*word));
        let Some(data) = bytes.get(HEAD..length) else { break };
        let number = |at: usize| head[at..].first_chunk().map_or(0, |word| i32::from_ne_bytes(*word));
        match (number(WORD), number(WORD + 4)) {
            (libc::SOL_IP, libc::IP_ORIGDSTADDR) | (libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR) => {
                told.dialled = address(data).or(told.dialled);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let size = data.first_chunk().map_or(0, |word| i32::from_ne_bytes(*word));
                told.segment = u16::try_from(size).ok().filter(|&size| size > 0);
            }
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(WORD)..).unwrap_or_default();
    }
    told
}

/// An address as the kernel writes it, of either family.
fn address(data: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = data.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => Some((Ipv4Addr::from(*rest.first_chunk::<4>()?), port).into()),
        libc::AF_INET6 => {
            let (_, rest) = rest.split_first_chunk::<4>()?;
            let (address, rest) = rest.split_first_chunk::<16>()?;
            let address = Ipv6Addr::from(*address);
            let scope = u32::from_ne_bytes(*rest.first_chunk()?);
            Some(match address.to_ipv4_mapped() {
                Some(four) => (four, port).into(),
                None => SocketAddrV6::new(address, port, 0, scope).into(),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (HEAD + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(WORD), 0);
        bytes
    }

    fn four() -> Vec<u8> {
        let mut data = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        data.extend([0, 53, 10, 96, 0, 10]);
        data.extend([0; 8]);
        message(libc::SOL_IP, libc::IP_ORIGDSTADDR, &data)
    }

    fn six() -> Vec<u8> {
        let mut data = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
        data.extend([0, 53, 9, 9, 9, 9]);
        data.extend("fd00::10".parse::<Ipv6Addr>().unwrap().octets());
        data.extend(0_u32.to_ne_bytes());
        message(libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR, &data)
    }

    #[test]
    fn addresses_of_both_families_and_sizes_are_read() {
        assert_eq!(understand(&four()).dialled, Some("10.96.0.10:53".parse().unwrap()));
        assert_eq!(understand(&six()).dialled, Some("[fd00::10]:53".parse().unwrap()));
        let merged = [message(libc::SOL_UDP, libc::UDP_GRO, &1200_i32.to_ne_bytes()), four()].concat();
        let told = Told { dialled: Some("10.96.0.10:53".parse().unwrap()), segment: Some(1200) };
        assert_eq!(understand(&merged), told);
    }

    #[test]
    fn what_is_unknown_is_passed_over() {
        let bytes = [message(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, &[7; 16]), six()].concat();
        assert_eq!(understand(&bytes).dialled, Some("[fd00::10]:53".parse().unwrap()));
    }

    #[test]
    fn what_is_cut_short_says_nothing() {
        for whole in [four(), six()] {
            let needed = HEAD + if whole.len() == HEAD + 16 { 8 } else { 28 };
            for cut in 0..needed {
                assert_eq!(understand(&whole[..cut]), Told::default(), "{cut}");
            }
        }
        let mut endless = four();
        endless[..WORD].copy_from_slice(&0_usize.to_ne_bytes());
        assert_eq!(understand(&endless), Told::default());
        endless[..WORD].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(understand(&endless), Told::default());
    }
}
