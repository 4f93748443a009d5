// SPDX-License-Identifier: Apache-2.0
//! What dials have shown of an endpoint: one that fails is left alone for a while, longer each time.
//!
//! The first failure ejects it for a second, each further one in a row for twice as long, up to half a minute. Failures of
//! dials that were under way when it was ejected count as the one that ejected it. When the time is over, one client tries
//! it and the others wait for what comes of that: a dead host costs one client's patience, not everybody's.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the first failure ejects, in milliseconds.
const FIRST: u64 = 1_000;

/// How often that is doubled at most.
const DOUBLINGS: u32 = 5;

/// How long a client that tries an ejected endpoint has to learn something, before another one may.
const TRIAL: u64 = 2_000;

/// A point in time as atomics hold it: milliseconds since a day of no meaning.
pub fn milliseconds(now: Instant) -> u64 {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    // An hour back: whoever asks first may have read its clock later than who asks second.
    let beginning = BEGINNING.get_or_init(|| now.checked_sub(Duration::from_secs(3600)).unwrap_or(now));
    now.saturating_duration_since(*beginning).as_millis() as u64
}

/// Whether a client may dial an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may: nothing speaks against it.
    Well,
    /// It may, and until then nobody else: its ejection is over, and this client tries it.
    Trial(u64),
    /// It may not, or another client was faster.
    Ejected,
}

/// An endpoint's health, shared by all workers.
#[derive(Debug, Default)]
pub struct Health {
    /// Failures in a row.
    strikes: AtomicU32,
    /// Twice the time until which it is left alone, plus one if that is because a client tries it; 0: it is well.
    alone: AtomicU64,
    ejections: AtomicU64,
}

impl Health {
    /// Whether it is left alone now.
    pub fn ejected(&self, now: u64) -> bool {
        now < self.alone.load(Ordering::Relaxed) >> 1
    }

    /// Whether a client may dial it.
    pub fn admit(&self, now: u64) -> Admission {
        let alone = self.alone.load(Ordering::Relaxed);
        let until = now + TRIAL;
        let claim = || self.alone.compare_exchange(alone, until << 1 | 1, Ordering::Relaxed, Ordering::Relaxed);
        if alone == 0 {
            Admission::Well
        } else if now >= alone >> 1 && claim().is_ok() {
            Admission::Trial(until)
        } else {
            Admission::Ejected
        }
    }

    /// A dial failed. Returns until when that ejects the endpoint, if it does.
    pub fn failed(&self, now: u64) -> Option<u64> {
        let alone = self.alone.load(Ordering::Relaxed);
        let on_trial = alone & 1 == 1;
        if now < alone >> 1 && !on_trial {
            return None;
        }
        let strikes = self.strikes.load(Ordering::Relaxed);
        let until = now + (FIRST << strikes.min(DOUBLINGS));
        self.alone.compare_exchange(alone, until << 1, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        self.strikes.store(strikes.saturating_add(1), Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        Some(until)
    }

    /// A dial succeeded.
    pub fn opened(&self) {
        if self.alone.load(Ordering::Relaxed) != 0 {
            self.alone.store(0, Ordering::Relaxed);
            self.strikes.store(0, Ordering::Relaxed);
        }
    }

    /// How often it was ejected so far.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_ejects_for_twice_as_long() {
        let health = Health::default();
        let mut now = 0;
        for seconds in [1, 2, 4, 8, 16, 32, 32, 32] {
            assert_ne!(health.admit(now), Admission::Ejected);
            assert_eq!(health.failed(now), Some(now + seconds * 1000));
            now += seconds * 1000;
            assert!(health.ejected(now - 1) && !health.ejected(now));
        }
        assert_eq!(health.ejections(), 8);
    }

    #[test]
    fn failures_under_way_count_as_one() {
        let health = Health::default();
        assert_eq!(health.failed(0), Some(1000));
        assert_eq!(health.failed(10), None);
        assert_eq!(health.failed(999), None);
        assert_eq!(health.failed(1000), Some(3000));
    }

    #[test]
    fn one_client_tries_what_was_ejected() {
        let health = Health::default();
        health.failed(0);
        assert_eq!(health.admit(1000), Admission::Trial(3000));
        assert_eq!(health.admit(1000), Admission::Ejected);
        assert!(health.ejected(2999));
        // That client never told: another one may.
        assert_eq!(health.admit(3000), Admission::Trial(5000));
        // It failed: that is the second strike.
        assert_eq!(health.failed(3500), Some(5500));
    }

    #[test]
    fn a_success_forgives_everything() {
        let health = Health::default();
        health.failed(0);
        health.failed(1000);
        health.opened();
        assert!(!health.ejected(1001));
        assert_eq!([health.admit(1001), health.admit(1001)], [Admission::Well; 2]);
        assert_eq!(health.failed(2000), Some(3000));
    }
}
