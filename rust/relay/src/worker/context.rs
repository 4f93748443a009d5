// SPDX-License-Identifier: Apache-2.0
//! What a worker's parts use: its number, its clock, its epoll, its choice, and what all workers share.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::epoll::Epoll;
use super::timers::Clock;
use crate::pick::Picker;
use crate::relay::{Lane, Shared};
use crate::stats::WorkerMeter;

pub(crate) struct Context {
    /// The worker's number: which lane of a meter it writes.
    pub index: usize,
    pub shared: Arc<Shared>,
    pub epoll: Epoll,
    pub clock: Clock,
    pub picker: Picker,
}

impl Context {
    pub fn new(index: usize, shared: Arc<Shared>) -> io::Result<Self> {
        Ok(Self { index, shared, epoll: Epoll::open()?, clock: Clock::start(), picker: Picker::default() })
    }

    /// What this worker counts that belongs to no Service.
    pub fn meter(&self) -> &WorkerMeter {
        &self.shared.lanes[self.index].meter
    }

    /// What this worker writes and others read.
    pub fn lane(&self) -> &Lane {
        &self.shared.lanes[self.index]
    }

    /// Say how many connections this worker has.
    pub fn count(&self, connections: usize) {
        self.shared.lanes[self.index].connections.store(connections, Ordering::Relaxed);
    }

    /// Say how many pipes they use.
    pub fn count_pipes(&self, pipes: usize) {
        self.shared.lanes[self.index].pipes.store(pipes, Ordering::Relaxed);
    }

    /// Say how many flows of datagrams this worker has.
    pub fn count_flows(&self, flows: usize) {
        self.shared.lanes[self.index].flows.store(flows, Ordering::Relaxed);
    }

    /// The connections of all workers together.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }
}
