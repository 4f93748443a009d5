// SPDX-License-Identifier: Apache-2.0
//! Addresses as the kernel writes them. An IPv4 address that an IPv6 socket shows in its mapped form reads as IPv4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Room for an address of either family.
#[derive(Clone, Copy)]
pub struct Raw {
    pub storage: libc::sockaddr_in6,
    pub length: libc::socklen_t,
}

impl Raw {
    /// Room for the kernel to write to.
    pub fn empty() -> Self {
        // SAFETY: sockaddr_in6 is plain integers; all zeros is valid.
        Self { storage: unsafe { std::mem::zeroed() }, length: super::length::<libc::sockaddr_in6>() }
    }

    /// An address in its own family.
    pub fn plain(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V6(address) => Self::six(address),
            SocketAddr::V4(address) => {
                let mut raw = Self::empty();
                let four = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: a sockaddr_in is shorter than the sockaddr_in6 it is written to, and both are plain integers.
                unsafe { std::ptr::write_unaligned((&raw mut raw.storage).cast(), four) };
                raw.length = super::length::<libc::sockaddr_in>();
                raw
            }
        }
    }

    /// An address for an IPv6 socket, mapped if need be.
    pub fn mapped(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V6(address) => Self::six(address),
            SocketAddr::V4(four) => Self::six(SocketAddrV6::new(four.ip().to_ipv6_mapped(), four.port(), 0, 0)),
        }
    }

    fn six(address: SocketAddrV6) -> Self {
        let mut raw = Self::empty();
        raw.storage.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        raw.storage.sin6_port = address.port().to_be();
        raw.storage.sin6_addr.s6_addr = address.ip().octets();
        raw.storage.sin6_scope_id = address.scope_id();
        raw
    }

    /// What the kernel wrote; None where it is no internet address.
    pub fn read(&self) -> Option<SocketAddr> {
        let port = u16::from_be(self.storage.sin6_port);
        match i32::from(self.storage.sin6_family) {
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(self.storage.sin6_addr.s6_addr);
                Some(match ip.to_canonical() {
                    IpAddr::V4(four) => SocketAddr::from((four, port)),
                    IpAddr::V6(six) => SocketAddrV6::new(six, port, 0, self.storage.sin6_scope_id).into(),
                })
            }
            // A sockaddr_in has its port where a sockaddr_in6 has, and its address in place of the flow information.
            libc::AF_INET => Some((Ipv4Addr::from(self.storage.sin6_flowinfo.to_ne_bytes()), port).into()),
            _ => None,
        }
    }
}
