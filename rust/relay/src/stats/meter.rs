// SPDX-License-Identifier: Apache-2.0
//! The counters of one frontend or endpoint. A worker writes only its own lane, so nothing is locked and no line fought over.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use super::add;
use super::histogram::Histogram;
use crate::pick::Failure;

/// Workers that can count.
pub const LANES: usize = 8;

/// Ways for a connection to end.
pub const ENDS: usize = 5;

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
    /// All and each are made when a worker first counts: most endpoints of a large cluster are never dialled from here.
    lanes: OnceLock<Box<[OnceLock<Box<Lane>>; LANES]>>,
    /// Connections now, of all workers.
    active: AtomicU32,
}

/// What one worker counted.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Lane {
    pub(super) connections: AtomicU64,
    pub(super) ended: [AtomicU64; ENDS],
    pub(super) failures: [AtomicU64; 2],
    pub(super) up: AtomicU64,
    pub(super) down: AtomicU64,
    dial: OnceLock<Box<Histogram>>,
    first_byte: OnceLock<Box<Histogram>>,
}

impl Meter {
    /// Connections there are now.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// The lanes that were used.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.get().into_iter().flat_map(|lanes| lanes.iter()).filter_map(|lane| lane.get().map(Box::as_ref))
    }

    /// A worker's own.
    fn lane(&self, worker: usize) -> &Lane {
        self.lanes.get_or_init(Box::default)[worker.min(LANES - 1)].get_or_init(Box::default)
    }

    pub(super) fn opened(&self, worker: usize) {
        add(&self.lane(worker).connections, 1);
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dialled(&self, worker: usize, dial: Duration) {
        self.lane(worker).dial.get_or_init(Box::default).record(dial);
    }

    pub(super) fn first_byte(&self, worker: usize, after: Duration) {
        self.lane(worker).first_byte.get_or_init(Box::default).record(after);
    }

    pub(super) fn moved(&self, worker: usize, way: Way, bytes: u64) {
        let lane = self.lane(worker);
        match way {
            Way::Up => add(&lane.up, bytes),
            Way::Down => add(&lane.down, bytes),
        }
    }

    pub(super) fn closed(&self, worker: usize, end: End) {
        add(&self.lane(worker).ended[end as usize], 1);
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, worker: usize, failure: Failure) {
        add(&self.lane(worker).failures[failure as usize], 1);
    }
}

impl Lane {
    pub(super) fn dial(&self) -> Option<&Histogram> {
        self.dial.get().map(Box::as_ref)
    }

    pub(super) fn byte(&self) -> Option<&Histogram> {
        self.first_byte.get().map(Box::as_ref)
    }
}
