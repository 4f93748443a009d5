// SPDX-License-Identifier: Apache-2.0
//! What is known of one client's datagrams to one address.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use crate::stats;
use crate::table::Scope;
use crate::worker::timers::Tick;

/// Which datagrams belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Who sends them.
    pub client: SocketAddr,
    /// Where they arrived: the address that was dialled, unless rules have translated it.
    pub arrived: SocketAddr,
    /// By which port the rules sent them here.
    pub scope: Scope,
}

/// A flow: a socket of its own toward its endpoint.
#[derive(Debug)]
pub struct Flow {
    pub key: Key,
    /// The address that was dialled.
    pub dialled: SocketAddr,
    /// Connected, so that the endpoint's refusal comes back to it, and nobody else's datagrams do.
    pub socket: OwnedFd,
    pub count: stats::Flow,
    pub opened: Instant,
    /// When something was last sent, either way.
    pub active: Tick,
    /// The tick of the next visit.
    pub armed: Tick,
    pub answered: bool,
    /// Whether the kernel cuts long messages into datagrams on this way.
    pub segmenting: bool,
    /// What another endpoint may be asked, should this one refuse.
    pub question: Option<Box<Question>>,
}

/// The first datagram of a flow, until it is answered.
#[derive(Debug)]
pub struct Question {
    pub datagram: Vec<u8>,
    /// Endpoints that refused it.
    pub tried: Vec<SocketAddr>,
}

/// The longest first datagram that is kept.
const LONGEST: usize = 1500;

impl Question {
    /// A datagram that is kept, if it is not too long.
    pub fn new(datagram: &[u8]) -> Option<Box<Self>> {
        (datagram.len() <= LONGEST).then(|| Box::new(Self { datagram: datagram.to_vec(), tried: Vec::new() }))
    }
}
