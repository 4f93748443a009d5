// SPDX-License-Identifier: Apache-2.0
//! What is asked for: a Service as plain values.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use balance::Method;

/// What a port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Which endpoints of a Service may answer a client: the rules judged it and chose the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every one.
    All,
    /// Those on this node.
    Local,
}

impl Scope {
    /// Both, in the order of their numbers.
    pub const BOTH: [Self; 2] = [Self::All, Self::Local];
}

/// One Service port in one family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// The Route's key; names the Service in logs and counters.
    pub key: Arc<str>,
    /// Spreads Services with the same endpoints: the hash of its UID.
    pub seed: u64,
    /// Where clients dial it.
    pub frontends: Vec<Frontend>,
    /// The endpoints behind the port for all.
    pub all: Vec<Endpoint>,
    /// The endpoints behind the port for local ones.
    pub local: Vec<Endpoint>,
    /// How one of them is chosen.
    pub method: Method,
    /// How long a client stays with its endpoint after its last connection; zero: not at all.
    pub affinity: Duration,
    /// Tell the endpoint the client's address in a PROXY protocol v2 header.
    pub proxy_protocol: bool,
    /// Dial endpoints on this node from the client's address.
    pub keep_source: bool,
}

/// One address clients dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// As the routing table prints it.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// Unspecified: a `NodePort`, on any address of the node in that family. None: in both.
    pub address: Option<IpAddr>,
    /// The port dialled.
    pub port: u16,
}

/// One endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens; names it in counters, too.
    pub address: SocketAddr,
    /// Its share of new connections; 0: none.
    pub weight: u32,
    /// On this node.
    pub local: bool,
}
