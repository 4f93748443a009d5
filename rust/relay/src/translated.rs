// SPDX-License-Identifier: Apache-2.0
//! What a client had dialled who arrives at one of the relay's own ports: rules have translated its destination.
//!
//! That is how frames of a Linux bridge come where `br_netfilter` shows them to the rules: TPROXY's choice of a socket is
//! lost before they reach it. The connection tracker, which translates, remembers what was dialled.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use netlink::conntrack::{Conntrack, Tuple};

use crate::sys::socket;
use crate::table::Scope;
use crate::worker::context::Context;

/// What the client of a connection had dialled that arrived here, by the listener of a scope.
pub fn connection(context: &Context, client: impl AsFd, arrived: SocketAddr, scope: Scope) -> SocketAddr {
    if !is_own(context, arrived, scope) {
        return arrived;
    }
    socket::original_address(client, arrived.is_ipv4()).ok().flatten().unwrap_or(arrived)
}

/// Tell whether packets arrived at a port of the relay itself.
fn is_own(context: &Context, arrived: SocketAddr, scope: Scope) -> bool {
    let shared = &context.shared;
    shared.config.transparent && arrived.port() == shared.ports.of(scope)
}

fn family(address: SocketAddr) -> u8 {
    let number = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    number.unsigned_abs() as u8
}

/// Asks for what senders of datagrams had dialled.
#[derive(Default)]
pub struct Datagrams {
    /// Opened when there is first something to ask.
    conntrack: Option<Conntrack>,
}

impl Datagrams {
    /// What a client had sent its datagrams to that arrived here, at the port of a scope.
    pub fn dialled(&mut self, context: &Context, client: SocketAddr, arrived: SocketAddr, scope: Scope) -> SocketAddr {
        let translated = is_own(context, arrived, scope).then(|| self.ask(client, arrived));
        translated.flatten().unwrap_or(arrived)
    }

    fn ask(&mut self, client: SocketAddr, arrived: SocketAddr) -> Option<SocketAddr> {
        let conntrack = match &mut self.conntrack {
            Some(conntrack) => conntrack,
            None => self.conntrack.insert(Conntrack::open().ok()?),
        };
        let answer = Tuple {
            protocol: libc::IPPROTO_UDP as u8,
            source: (arrived.ip(), arrived.port()),
            destination: (client.ip(), client.port()),
        };
        let flow = conntrack.answered_by(family(arrived), answer).ok()??;
        Some(flow.original.destination.into())
    }
}

impl std::fmt::Debug for Datagrams {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Datagrams").finish_non_exhaustive()
    }
}
