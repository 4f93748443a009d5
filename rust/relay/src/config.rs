// SPDX-License-Identifier: Apache-2.0
//! What a relay is started with. Nothing here changes while it runs.

use std::time::Duration;

use crate::stats::LANES;
use crate::table::Scope;

/// The two ports: the rules send a client to the one whose endpoints its verdict balances over. 0 lets the kernel choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ports {
    /// Every endpoint of the Service may answer.
    pub all: u16,
    /// Only endpoints on this node.
    pub local: u16,
}

impl Ports {
    /// The port of a scope.
    pub fn of(self, scope: Scope) -> u16 {
        match scope {
            Scope::All => self.all,
            Scope::Local => self.local,
        }
    }
}

/// How long what may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// One endpoint's time to accept a connection; then another one is tried.
    pub attempt: Duration,
    /// All attempts of one connection together.
    pub dial: Duration,
    /// Silence on a connection of which one side has said its last word.
    pub half_closed: Duration,
    /// Silence on a whole connection. Services promise none, so there is none by default.
    pub tcp_idle: Option<Duration>,
    /// Silence on a UDP flow.
    pub udp_idle: Duration,
    /// How long the kernel tries to deliver sent bytes to a peer that has fallen silent.
    pub user_timeout: Duration,
    /// How long connections to an endpoint that left its Service may live on. None: until they end.
    pub drain: Option<Duration>,
}

/// Everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Worker threads, at most as many as can count (`stats::LANES`); 0 takes one a CPU, at most four.
    pub workers: usize,
    /// Pin workers and have each CPU's connections accepted there, where there is one worker for each allowed CPU.
    pub steered: bool,
    /// The ports of both protocols.
    pub ports: Ports,
    /// Accept what is addressed to others, as TPROXY hands it over. Takes `CAP_NET_ADMIN`; without it the ports are plain.
    pub transparent: bool,
    /// The mark of the relay's own packets, by which the rules let them pass; 0 sets none.
    pub mark: u32,
    /// Time-outs.
    pub timeouts: Timeouts,
    /// Connections at one time; one more is refused at once.
    pub max_connections: usize,
    /// Endpoints tried for one connection, each at most once.
    pub attempts: usize,
    /// Connections the kernel queues while a worker is busy.
    pub backlog: u16,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(1),
            dial: Duration::from_secs(5),
            half_closed: Duration::from_secs(300),
            tcp_idle: None,
            udp_idle: Duration::from_secs(30),
            user_timeout: Duration::from_secs(30),
            drain: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 0,
            steered: true,
            ports: Ports::default(),
            transparent: true,
            mark: 0x20000,
            timeouts: Timeouts::default(),
            max_connections: 1_000_000,
            attempts: 4,
            backlog: u16::MAX,
        }
    }
}

impl Config {
    /// The worker threads to start.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(4),
            count => count.min(LANES),
        }
    }

    /// The time-out of undelivered bytes, as the kernel wants it: milliseconds.
    pub(crate) fn user_timeout(&self) -> i32 {
        i32::try_from(self.timeouts.user_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}
