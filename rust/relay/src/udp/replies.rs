// SPDX-License-Identifier: Apache-2.0
//! From where answers leave: a socket for each address that clients dialled, kept while it is used.
//!
//! Such a socket only sends. It takes the address without having it (`IP_TRANSPARENT`), beside those of other workers.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::hash::Map;
use crate::sys::address::Raw;
use crate::sys::socket;

/// Sockets a worker keeps: beyond these, the one whose last use is longest ago is closed for a new one.
const MOST: usize = 1024;

#[derive(Debug)]
struct Reply {
    socket: OwnedFd,
    used: u64,
}

/// The sockets.
#[derive(Debug, Default)]
pub struct Replies {
    sockets: Map<SocketAddr, Reply>,
    uses: u64,
}

impl Replies {
    /// The socket of an address.
    pub fn of(&mut self, dialled: SocketAddr) -> io::Result<BorrowedFd<'_>> {
        self.uses += 1;
        if !self.sockets.contains_key(&dialled) {
            if self.sockets.len() >= MOST {
                self.close_oldest();
            }
            let socket = open(dialled).or_else(|error| match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE) if self.close_oldest() => open(dialled),
                _ => Err(error),
            })?;
            self.sockets.insert(dialled, Reply { socket, used: 0 });
        }
        let reply = self.sockets.get_mut(&dialled).ok_or(io::ErrorKind::NotFound)?;
        reply.used = self.uses;
        Ok(reply.socket.as_fd())
    }

    /// Close those of addresses that are dialled no more.
    pub fn keep(&mut self, dialled: impl Fn(SocketAddr) -> bool) {
        self.sockets.retain(|&address, _| dialled(address));
    }

    fn close_oldest(&mut self) -> bool {
        let oldest = self.sockets.iter().min_by_key(|(_, reply)| reply.used).map(|(&address, _)| address);
        oldest.is_some_and(|address| self.sockets.remove(&address).is_some())
    }
}

fn open(dialled: SocketAddr) -> io::Result<OwnedFd> {
    let (family, level, name) = match dialled {
        SocketAddr::V4(_) => (libc::AF_INET, libc::SOL_IP, libc::IP_TRANSPARENT),
        SocketAddr::V6(_) => (libc::AF_INET6, libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
    };
    let socket = socket::open(family, libc::SOCK_DGRAM)?;
    socket::set_option(&socket, level, name, 1)?;
    socket::set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    socket::bind(&socket, &Raw::plain(dialled))?;
    Ok(socket)
}
