// SPDX-License-Identifier: Apache-2.0
//! What is counted, by connection, without a lock.
//!
//! - `meter`: the counters of one frontend or endpoint; `histogram`: durations
//! - `report`: everything that was counted, read at once

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use crate::pick::Failure;
use crate::table::{Found, Member};

pub mod histogram;
mod meter;
mod report;

pub use meter::{End, Meter, Way, LANES};
pub use report::{Count, Report, Whole};

/// Count up what only this thread counts: cheaper than an addition that others could take part in.
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
    pub fn opened(worker: usize, found: &Found, member: Arc<Member>, dial: Duration) -> Self {
        let flow = Self::begun(worker, found, member);
        flow.meters().into_iter().for_each(|meter| meter.dialled(worker, dial));
        flow
    }

    /// A flow began for which nothing had to be dialled.
    pub fn begun(worker: usize, found: &Found, member: Arc<Member>) -> Self {
        let flow = Self { worker, frontend: Arc::clone(&found.live.frontends[found.frontend]), member };
        flow.meters().into_iter().for_each(|meter| meter.opened(worker));
        flow
    }

    /// Whether it came by a frontend: that one still, though its Service may have changed.
    pub fn is_of(&self, found: &Found) -> bool {
        Arc::ptr_eq(&self.frontend, &found.live.frontends[found.frontend])
    }

    /// Another worker counts it from now on.
    pub fn hand_to(&mut self, worker: usize) {
        self.worker = worker;
    }

    /// The endpoint it goes to.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Bytes were passed on.
    pub fn moved(&self, way: Way, bytes: u64) {
        self.meters().into_iter().for_each(|meter| meter.moved(self.worker, way, bytes));
    }

    /// The endpoint's first byte came this long after the connection was there.
    pub fn first_byte(&self, after: Duration) {
        self.meters().into_iter().for_each(|meter| meter.first_byte(self.worker, after));
    }

    /// It ended.
    pub fn closed(self, end: End) {
        self.meters().into_iter().for_each(|meter| meter.closed(self.worker, end));
    }

    fn meters(&self) -> [&Meter; 2] {
        [&self.frontend, &self.member.lasting().meter]
    }
}

/// A dial of an endpoint came to nothing.
pub fn failed(worker: usize, member: &Member, failure: Failure) {
    member.lasting().meter.failed(worker, failure);
}

/// Reasons to turn a client away.
pub const REFUSALS: usize = 5;

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
    refusals: [AtomicU64; REFUSALS],
}

impl WorkerMeter {
    /// A client was turned away.
    pub fn refused(&self, refusal: Refusal) {
        add(&self.refusals[refusal as usize], 1);
    }

    /// How many were, in the order of `Refusal`.
    pub fn refusals(&self) -> [u64; REFUSALS] {
        self.refusals.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
