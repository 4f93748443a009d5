// SPDX-License-Identifier: Apache-2.0
//! Everything that was counted, read at once.

use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::Durations;
use super::meter::{Meter, ENDS};
use crate::pick::memory::Memory;
use crate::table::{Live, Table};

/// What one frontend or endpoint counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Count {
    /// The Service's key.
    pub service: String,
    /// The frontend's name or the endpoint's address.
    pub name: String,
    /// Connections established so far.
    pub connections: u64,
    /// Those there are now.
    pub active: u64,
    /// Those that have ended.
    pub closed: u64,
    /// The same by how they ended, in the order of `End`.
    pub ended: [u64; ENDS],
    /// Dials that came to nothing.
    pub failures: u64,
    /// The same by why, in the order of `Failure`.
    pub failed: [u64; 2],
    /// How often the endpoint was left alone for failing.
    pub ejections: u64,
    /// Bytes from clients.
    pub up: u64,
    /// Bytes to clients.
    pub down: u64,
    /// How long dials took that succeeded.
    pub dial: Durations,
    /// How long it took from there to the endpoint's first byte.
    pub first_byte: Durations,
}

/// What one Service counted beyond its frontends and endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whole {
    /// The Service's key.
    pub service: String,
    /// Endpoints picked in place of one that failed.
    pub retries: u64,
    /// Clients that are known for affinity.
    pub clients: u64,
}

/// Everything that was counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// By Service.
    pub services: Vec<Whole>,
    /// By frontend.
    pub frontends: Vec<Count>,
    /// By endpoint.
    pub endpoints: Vec<Count>,
}

impl Count {
    fn of(service: &str, name: &str, meter: &Meter) -> Self {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut count = Self { service: service.to_owned(), name: name.to_owned(), ..Self::default() };
        for lane in meter.lanes() {
            // What ended is read before what began: a report must not show more ends than beginnings.
            for (sum, ended) in count.ended.iter_mut().zip(&lane.ended) {
                *sum += read(ended);
            }
            count.connections += read(&lane.connections);
            for (sum, failed) in count.failed.iter_mut().zip(&lane.failures) {
                *sum += read(failed);
            }
            count.up += read(&lane.up);
            count.down += read(&lane.down);
            lane.dial().into_iter().for_each(|dial| count.dial.gather(dial));
            lane.byte().into_iter().for_each(|byte| count.first_byte.gather(byte));
        }
        count.closed = count.ended.iter().sum();
        count.active = count.connections.saturating_sub(count.closed);
        count.failures = count.failed.iter().sum();
        count
    }
}

impl Whole {
    fn of(service: &str, memory: &Memory) -> Self {
        Self { service: service.to_owned(), retries: memory.retries(), clients: memory.clients() as u64 }
    }
}

impl Report {
    /// What a table's Services counted.
    pub fn of(table: &Table) -> Self {
        let mut report = Self::default();
        table.services().for_each(|live| report.gather(live));
        report
    }

    fn gather(&mut self, live: &Live) {
        let key = &live.service.key;
        self.services.push(Whole::of(key, &live.memory));
        for (frontend, meter) in live.service.frontends.iter().zip(&live.frontends) {
            self.frontends.push(Count::of(key, &frontend.name, meter));
        }
        for member in live.distinct() {
            let count = Count::of(key, &member.endpoint.address.to_string(), &member.lasting().meter);
            self.endpoints.push(Count { ejections: member.lasting().health.ejections(), ..count });
        }
    }
}
