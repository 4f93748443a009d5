// SPDX-License-Identifier: Apache-2.0
//! Durations by their order of magnitude, two steps to a doubling.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Microseconds at which the second step begins. Shorter ones are all alike: the kernel takes as long.
const LEAST: u64 = 16;

/// Doublings told apart, up to 16.8 s.
const DOUBLINGS: usize = 20;

/// Steps: one below `LEAST`, two to a doubling, one for whatever is longer.
pub const STEPS: usize = 2 * DOUBLINGS + 2;

/// Durations that were counted.
#[derive(Debug)]
pub struct Histogram {
    steps: [AtomicU64; STEPS],
    microseconds: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { steps: std::array::from_fn(|_| AtomicU64::default()), microseconds: AtomicU64::default() }
    }
}

impl Histogram {
    /// Count one. Only one thread may do that.
    pub fn record(&self, duration: Duration) {
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2);
        super::add(&self.steps[step(microseconds)], 1);
        super::add(&self.microseconds, microseconds);
    }
}

/// What was counted, by step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Durations {
    /// How many of each step; empty if there was none at all.
    pub steps: Vec<u64>,
    /// All of them together.
    pub microseconds: u64,
}

impl Durations {
    /// Add what a thread counted.
    pub fn gather(&mut self, histogram: &Histogram) {
        self.steps.resize(STEPS, 0);
        for (sum, step) in self.steps.iter_mut().zip(&histogram.steps) {
            *sum += step.load(Ordering::Relaxed);
        }
        self.microseconds += histogram.microseconds.load(Ordering::Relaxed);
    }
}

/// Where each step ends, in microseconds; the last one has no end.
pub fn ends() -> [u64; STEPS - 1] {
    std::array::from_fn(|step| {
        let doubled = LEAST << (step / 2);
        doubled + doubled / 2 * (step as u64 % 2)
    })
}

fn step(microseconds: u64) -> usize {
    if microseconds < LEAST {
        return 0;
    }
    let doubling = (microseconds / LEAST).ilog2() as usize;
    let second_half = (microseconds >> (doubling + LEAST.ilog2() as usize - 1)) & 1;
    (1 + 2 * doubling + second_half as usize).min(STEPS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_ends_where_the_next_one_begins() {
        let ends = ends();
        assert_eq!(ends[..6], [16, 24, 32, 48, 64, 96]);
        for (number, end) in ends.into_iter().enumerate() {
            assert_eq!((step(end - 1), step(end)), (number, number + 1));
        }
        assert_eq!((step(0), step(u64::MAX)), (0, STEPS - 1));
    }

    #[test]
    fn what_was_recorded_is_gathered() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_micros(20));
        other.record(Duration::from_micros(21));
        other.record(Duration::from_secs(100));
        let mut durations = Durations::default();
        durations.gather(&one);
        durations.gather(&other);
        assert_eq!((durations.steps[1], durations.steps[STEPS - 1]), (2, 1));
        assert_eq!(durations.steps.iter().sum::<u64>(), 3);
        assert_eq!(durations.microseconds, 100_000_041);
    }
}
