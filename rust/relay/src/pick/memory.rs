// SPDX-License-Identifier: Apache-2.0
//! What a Service's picks leave behind for the next ones. All workers share it, and changes of the Service keep it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use balance::hash::mix;

use super::affinity::Affinity;
use crate::hash::seed;
use crate::table::Scope;

/// A Service's memory.
#[derive(Debug)]
pub struct Memory {
    /// Whose turn it is, in each scope.
    turns: [AtomicU64; 2],
    /// Until when some endpoint may be ejected.
    troubled: AtomicU64,
    /// Endpoints picked after another one had failed.
    retries: AtomicU64,
    affinity: OnceLock<Box<Mutex<Affinity>>>,
}

impl Default for Memory {
    fn default() -> Self {
        static BORN: AtomicU64 = AtomicU64::new(0);
        // Not all nodes, and not all Services, begin with the first endpoint. The shift leaves room to count.
        let start = || AtomicU64::new(mix(seed(), BORN.fetch_add(1, Ordering::Relaxed)) >> 16);
        Self {
            turns: [start(), start()],
            troubled: AtomicU64::default(),
            retries: AtomicU64::default(),
            affinity: OnceLock::default(),
        }
    }
}

impl Memory {
    /// The next turn of a scope.
    pub fn turn(&self, scope: Scope) -> u64 {
        self.turns[scope as usize].fetch_add(1, Ordering::Relaxed)
    }

    /// Whether some endpoint may be ejected.
    pub fn troubled(&self, now: u64) -> bool {
        now < self.troubled.load(Ordering::Relaxed)
    }

    /// An endpoint is ejected.
    pub fn ejected(&self, until: u64) {
        self.troubled.fetch_max(until, Ordering::Relaxed);
    }

    /// An endpoint was picked in place of one that failed.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that happened.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// The clients' endpoints. Nobody else is asked meanwhile, so that a client which comes twice at once gets one endpoint.
    pub fn affinity(&self) -> MutexGuard<'_, Affinity> {
        self.affinity.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many clients have an endpoint.
    pub fn clients(&self) -> usize {
        self.affinity.get().map_or(0, |affinity| affinity.lock().unwrap_or_else(PoisonError::into_inner).clients())
    }
}
