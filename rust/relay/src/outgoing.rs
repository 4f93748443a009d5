// SPDX-License-Identifier: Apache-2.0
//! Sockets toward endpoints: marked as the relay's own, and from the client's address where that is kept.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::sys::address::Raw;
use crate::sys::socket;
use crate::table::Endpoint;

/// The client's address, where an endpoint's answers to it come back through this node and can be told from others.
pub fn kept_source(client: IpAddr, endpoint: &Endpoint) -> Option<IpAddr> {
    let target = endpoint.address.ip();
    let sensible = endpoint.local && client.is_ipv4() == target.is_ipv4() && client != target && !client.is_loopback();
    sensible.then_some(client)
}

/// A socket of a kind (`SOCK_STREAM`, `SOCK_DGRAM`) that is ready to be connected to an endpoint.
pub fn open(kind: libc::c_int, endpoint: &Endpoint, source: Option<IpAddr>, mark: u32) -> io::Result<OwnedFd> {
    let family = if endpoint.address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = socket::open(family, kind)?;
    if mark != 0 {
        socket::set_option(&socket, libc::SOL_SOCKET, libc::SO_MARK, i32::from_ne_bytes(mark.to_ne_bytes()))?;
    }
    if let Some(source) = source {
        let (level, name) = match source {
            IpAddr::V4(_) => (libc::SOL_IP, libc::IP_TRANSPARENT),
            IpAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
        };
        socket::set_option(&socket, level, name, 1)?;
        // The port is chosen when both ends are known, so that one source can dial many endpoints from the same port.
        socket::set_option(&socket, libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        socket::bind(&socket, &Raw::plain(SocketAddr::new(source, 0)))?;
    }
    Ok(socket)
}
