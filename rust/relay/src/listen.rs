// SPDX-License-Identifier: Apache-2.0
//! The sockets of the two ports: for each worker one listener and one datagram socket a scope, of both families.

use std::os::fd::OwnedFd;

use crate::config::{Config, Ports};
use crate::error::{Error, Result};
use crate::handover::Inherited;
use crate::sys::address::Raw;
use crate::sys::socket;
use crate::table::{Protocol, Scope};

/// How often other ports are tried where the kernel is to choose: UDP may have the one that TCP was given.
const ATTEMPTS: usize = 16;

/// How long a connection is silent before the kernel asks whether its peer still lives, how often it asks then, and how
/// many questions may go unanswered: a peer that died is noticed within a minute.
pub(crate) const KEEPALIVE: [(libc::c_int, libc::c_int); 3] =
    [(libc::TCP_KEEPIDLE, 30), (libc::TCP_KEEPINTVL, 10), (libc::TCP_KEEPCNT, 3)];

/// Bytes of datagrams that may wait at a port.
const WAITING: libc::c_int = 4 << 20;

/// A socket of one of the ports.
#[derive(Debug)]
pub struct Bound {
    /// What arrives there.
    pub protocol: Protocol,
    /// For which port.
    pub scope: Scope,
    /// The socket.
    pub socket: OwnedFd,
}

impl Bound {
    /// The same socket once more, if there is a descriptor for it.
    pub(crate) fn copy(&self) -> Option<Self> {
        let socket = self.socket.try_clone().ok()?;
        Some(Self { protocol: self.protocol, scope: self.scope, socket })
    }
}

/// Every worker's sockets, and the ports they have.
pub(crate) fn open(config: &Config, workers: usize, inherited: Option<Inherited>) -> Result<(Vec<Vec<Bound>>, Ports)> {
    let mut shares: Vec<Vec<Bound>> = Vec::new();
    shares.resize_with(workers, Vec::new);
    let mut ports = config.ports;
    let mut handed = inherited.map(|inherited| inherited.sockets).unwrap_or_default();
    for scope in Scope::BOTH {
        let port = match scope {
            Scope::All => &mut ports.all,
            Scope::Local => &mut ports.local,
        };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (mine, others): (Vec<_>, Vec<_>) =
                handed.into_iter().partition(|bound| bound.scope == scope && bound.protocol == protocol);
            handed = others;
            if let Some(bound) = mine.first() {
                *port = port_of(&bound.socket)?;
            }
            // Every inherited socket gets its share of the packets, so each needs a worker that reads it.
            mine.into_iter().enumerate().for_each(|(number, bound)| shares[number % workers].push(bound));
        }
        if *port == 0 {
            *port = free(config)?;
        }
        for share in &mut shares {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                if !share.iter().any(|bound| bound.scope == scope && bound.protocol == protocol) {
                    share.push(Bound { protocol, scope, socket: bind(config, protocol, *port)? });
                }
            }
        }
    }
    // Only now: a program that chooses among the sockets of a port must know all of them, and refuses connections else.
    for bound in shares.iter().flatten().filter(|bound| bound.protocol == Protocol::Tcp) {
        socket::listen(&bound.socket, config.backlog)
            .map_err(|error| Error::system(&error, format!("listening on port {}", port_of(&bound.socket).unwrap_or(0))))?;
    }
    Ok((shares, ports))
}

/// A port that is free for both protocols.
fn free(config: &Config) -> Result<u16> {
    let mut last = Error::new(libc::EADDRINUSE, "no port is free for both TCP and UDP");
    for _ in 0..ATTEMPTS {
        let stream = bind(config, Protocol::Tcp, 0)?;
        let port = port_of(&stream)?;
        match bind(config, Protocol::Udp, port) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn port_of(bound: &OwnedFd) -> Result<u16> {
    let address = socket::own_address(bound).map_err(|error| Error::system(&error, "asking a listener's port"))?;
    address.map(|address| address.port()).ok_or_else(|| Error::new(libc::EINVAL, "a listener has no internet address"))
}

/// A socket of both families, which takes what is addressed to others where that is wanted.
fn bind(config: &Config, protocol: Protocol, port: u16) -> Result<OwnedFd> {
    let kind = match protocol {
        Protocol::Tcp => libc::SOCK_STREAM,
        Protocol::Udp => libc::SOCK_DGRAM,
    };
    let attempt = || {
        let bound = socket::open(libc::AF_INET6, kind)?;
        let set = |level, name, value| socket::set_option(&bound, level, name, value);
        set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
        set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        if config.transparent {
            set(libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT, 1)?;
        }
        match protocol {
            Protocol::Tcp => {
                // Accepted connections inherit all of it, which saves the calls for each of them.
                set(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
                set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
                set(libc::SOL_SOCKET, libc::SO_OOBINLINE, 1)?;
                for (name, value) in KEEPALIVE {
                    set(libc::IPPROTO_TCP, name, value)?;
                }
                set(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, config.user_timeout())?;
            }
            Protocol::Udp => {
                set(libc::SOL_IPV6, libc::IPV6_RECVORIGDSTADDR, 1)?;
                set(libc::SOL_IP, libc::IP_RECVORIGDSTADDR, 1)?;
                // A kernel that does not merge datagrams delivers each by itself.
                let _ = set(libc::SOL_UDP, libc::UDP_GRO, 1);
                // One socket takes the datagrams of many clients: a burst of them is not to be lost. Beyond the host's limit
                // only with a right; without it, what the host allows.
                let _ = set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, WAITING)
                    .or_else(|_| set(libc::SOL_SOCKET, libc::SO_RCVBUF, WAITING));
            }
        }
        let any = Raw::plain((std::net::Ipv6Addr::UNSPECIFIED, port).into());
        socket::bind(&bound, &any)?;
        Ok(bound)
    };
    attempt().map_err(|error: std::io::Error| {
        let mend =
            if error.kind() == std::io::ErrorKind::PermissionDenied { " (the relay needs CAP_NET_ADMIN)" } else { "" };
        let named = Error::system(&error, format!("opening the relay's {protocol:?} port {port}"));
        Error { text: named.text + mend, ..named }
    })
}
