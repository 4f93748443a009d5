// SPDX-License-Identifier: Apache-2.0
//! In turn: of as many turns as the weights amount to, each endpoint has exactly its weight.
//!
//! The turn is a number that the caller keeps, so that many threads share one order without a lock. With equal weights the
//! order is the list's. With others the turns stride through the shares in steps near the golden section of their total,
//! and with no divisor in common with it: every position once a cycle, and an endpoint's turns lie as far apart as they can
//! (the three-distance theorem). Nothing needs to be laid out beforehand, whatever the weights.

use crate::shares::{divisor, Shares};

/// Turns taken in search of a usable endpoint before the list is searched.
///
/// Another turn shares what an unusable endpoint would have had among all the others; the list would give it to its neighbour.
const TURNS: usize = 32;

/// The order of turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundRobin {
    shares: Shares,
    stride: u64,
}

impl RoundRobin {
    /// A weight for each endpoint of the list.
    pub fn new(weights: &[u32]) -> Self {
        let shares = Shares::new(weights);
        let stride = if shares.even() { 1 } else { stride(shares.total()) };
        Self { shares, stride }
    }

    /// The endpoint whose turn it is.
    pub fn at(&self, turn: u64) -> Option<u32> {
        let total = self.shares.total();
        let turn = turn.checked_rem(total)?;
        if self.stride == 1 {
            return self.shares.at(turn);
        }
        self.shares.at((u128::from(turn) * u128::from(self.stride) % u128::from(total)) as u64)
    }

    /// The next usable endpoint; `turn` gives a new turn each time it is asked.
    pub fn pick(&self, mut turn: impl FnMut() -> u64, usable: impl Fn(u32) -> bool) -> Option<u32> {
        for _ in 0..TURNS {
            let endpoint = self.at(turn())?;
            if usable(endpoint) {
                return Some(endpoint);
            }
        }
        let places = self.shares.places();
        let start = (turn() % places.len() as u64) as usize;
        places[start..].iter().chain(&places[..start]).copied().find(|&endpoint| usable(endpoint))
    }
}

/// The step nearest above the golden section of the total that shares no divisor with it.
fn stride(total: u64) -> u64 {
    let golden = (u128::from(total) * 618_034 / 1_000_000) as u64;
    (golden.max(1)..total).find(|&step| divisor(step, total) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycle(weights: &[u32], turns: u64) -> Vec<u32> {
        let order = RoundRobin::new(weights);
        (0..turns).filter_map(|turn| order.at(turn)).collect()
    }

    fn picks(weights: &[u32], count: usize, usable: impl Fn(u32) -> bool) -> Vec<Option<u32>> {
        let order = RoundRobin::new(weights);
        let mut turns = 0..;
        (0..count).map(|_| order.pick(|| turns.next().unwrap_or_default(), &usable)).collect()
    }

    #[test]
    fn equal_weights_follow_the_list() {
        assert_eq!(cycle(&[1, 1, 1], 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(cycle(&[100, 0, 100], 4), [0, 2, 0, 2]);
    }

    #[test]
    fn in_every_cycle_each_endpoint_has_its_weight() {
        for weights in [vec![5, 1, 1], vec![1, 2, 3, 4], vec![100, 1], vec![0, 97, 3, 50], vec![2, 1]] {
            let total: u32 = weights.iter().sum();
            for start in [0, 1, 12_345] {
                let order = RoundRobin::new(&weights);
                let mut counts = vec![0; weights.len()];
                for turn in start..start + u64::from(total) {
                    counts[order.at(turn).unwrap() as usize] += 1;
                }
                assert_eq!(counts, weights);
            }
        }
    }

    #[test]
    fn the_turns_of_a_heavy_endpoint_are_spread() {
        // 50 of 100: never more than twice running, never absent from three turns running.
        let turns = cycle(&[50, 17, 33], 1000);
        for window in turns.windows(3) {
            let heavy = window.iter().filter(|&&endpoint| endpoint == 0).count();
            assert!((1..=2).contains(&heavy), "{window:?}");
        }
    }

    #[test]
    fn what_an_unusable_endpoint_would_have_is_shared_among_all_others() {
        let picks = picks(&[1, 1, 1, 1], 3000, |endpoint| endpoint != 2);
        for endpoint in [0, 1, 3] {
            assert_eq!(picks.iter().filter(|&&pick| pick == Some(endpoint)).count(), 1000);
        }
    }

    #[test]
    fn one_usable_among_many_is_found() {
        assert_eq!(picks(&[1; 1000], 3, |endpoint| endpoint == 777), [Some(777); 3]);
        assert_eq!(picks(&[1; 1000], 1, |_| false), [None]);
        assert_eq!(picks(&[], 1, |_| true), [None]);
        assert_eq!(picks(&[0, 0], 1, |_| true), [None]);
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let order = RoundRobin::new(&[u32::MAX, u32::MAX - 1, 1]);
        assert!(order.at(u64::MAX).is_some());
    }
}
