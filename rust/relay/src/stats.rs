// SPDX-License-Identifier: Apache-2.0
//! What is counted. A worker writes only its own lane of a meter, so nothing is locked and no line is fought over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::pick::Failure;
use crate::table::{Found, Member, Table};

/// Workers that can count; more share the last lane.
pub const LANES: usize = 8;

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the endpoint.
    Up,
    /// From the endpoint to the client.
    Down,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides said their last word.
    Done,
    /// The client reset it.
    ClientReset,
    /// The endpoint reset it.
    EndpointReset,
    /// Nobody said anything for too long.
    Idle,
    /// Its endpoint left, or the relay did, and the time to drain was over.
    Drained,
}

/// Counters of one frontend or endpoint.
#[derive(Debug, Default)]
pub struct Meter {
    lanes: [OnceLock<Box<Lane>>; LANES],
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane {
    connections: AtomicU64,
    closed: AtomicU64,
    failures: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

impl Meter {
    fn lane(&self, worker: usize) -> &Lane {
        self.lanes[worker.min(LANES - 1)].get_or_init(Box::default)
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}

/// How one connection counts: in its worker's lanes of its frontend's and its endpoint's meters.
#[derive(Debug)]
pub struct Flow {
    worker: usize,
    frontend: Arc<Meter>,
    member: Arc<Member>,
}

impl Flow {
    /// A connection was established after dialling for `dial`.
    pub fn opened(worker: usize, found: &Found, member: Arc<Member>, _dial: Duration) -> Self {
        let flow = Self { worker, frontend: Arc::clone(&found.live.frontends[found.frontend]), member };
        flow.lanes().into_iter().for_each(|lane| add(&lane.connections, 1));
        flow
    }

    /// The endpoint it goes to.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Bytes were passed on.
    pub fn moved(&self, way: Way, bytes: u64) {
        for lane in self.lanes() {
            match way {
                Way::Up => add(&lane.up, bytes),
                Way::Down => add(&lane.down, bytes),
            }
        }
    }

    /// The endpoint's first byte came this long after the connection was there.
    pub fn first_byte(&self, _after: Duration) {}

    /// It ended.
    pub fn closed(self, _end: End) {
        self.lanes().into_iter().for_each(|lane| add(&lane.closed, 1));
    }

    fn lanes(&self) -> [&Lane; 2] {
        [self.frontend.lane(self.worker), self.member.meter.lane(self.worker)]
    }
}

/// A dial of an endpoint came to nothing.
pub fn failed(worker: usize, member: &Member, _failure: Failure) {
    add(&member.meter.lane(worker).failures, 1);
}

/// Why a client was turned away before any endpoint was dialled, or after all were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is known at the address it dialled.
    Unknown,
    /// The Service has no endpoint in its scope.
    NoEndpoint,
    /// Every endpoint that was tried failed.
    Undialled,
    /// There are as many connections as may be.
    Full,
    /// The process has no descriptor left.
    Descriptors,
}

/// What a worker counts that belongs to no Service.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WorkerMeter {
    refusals: [AtomicU64; 5],
}

impl WorkerMeter {
    /// A client was turned away.
    pub fn refused(&self, refusal: Refusal) {
        add(&self.refusals[refusal as usize], 1);
    }
}

/// What one frontend or endpoint counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Count {
    /// The Service's key.
    pub service: String,
    /// The frontend's name or the endpoint's key.
    pub name: String,
    /// Connections established so far.
    pub connections: u64,
    /// Those of them that have ended.
    pub closed: u64,
    /// Dials that came to nothing.
    pub failures: u64,
    /// Bytes from clients.
    pub up: u64,
    /// Bytes to clients.
    pub down: u64,
}

impl Count {
    fn of(service: &str, name: &str, meter: &Meter) -> Self {
        let mut count = Self { service: service.to_owned(), name: name.to_owned(), ..Self::default() };
        for lane in meter.lanes.iter().filter_map(OnceLock::get) {
            count.connections += lane.connections.load(Ordering::Relaxed);
            count.closed += lane.closed.load(Ordering::Relaxed);
            count.failures += lane.failures.load(Ordering::Relaxed);
            count.up += lane.up.load(Ordering::Relaxed);
            count.down += lane.down.load(Ordering::Relaxed);
        }
        count
    }
}

/// Everything that was counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// By frontend.
    pub frontends: Vec<Count>,
    /// By endpoint.
    pub endpoints: Vec<Count>,
}

impl Report {
    /// What a table's Services counted.
    pub fn of(table: &Table) -> Self {
        let mut report = Self::default();
        for live in table.services() {
            let key = &live.service.key;
            for (frontend, meter) in live.service.frontends.iter().zip(&live.frontends) {
                report.frontends.push(Count::of(key, &frontend.name, meter));
            }
            for member in &live.all {
                report.endpoints.push(Count::of(key, &member.endpoint.key, &member.meter));
            }
        }
        report
    }
}
