// SPDX-License-Identifier: Apache-2.0
//! By chance: each endpoint in proportion to its weight, whatever went before.

use crate::shares::Shares;

/// Draws that may meet an unusable endpoint before the usable ones are counted out.
const DRAWS: usize = 8;

/// The shares drawn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    shares: Shares,
}

impl Random {
    /// A weight for each endpoint of the list.
    pub fn new(weights: &[u32]) -> Self {
        Self { shares: Shares::new(weights) }
    }

    /// A usable endpoint; `random` gives a new, even number each time it is asked.
    ///
    /// Drawing again and counting out give the same odds: those of the weights among the usable.
    pub fn pick(&self, mut random: impl FnMut() -> u64, usable: impl Fn(u32) -> bool) -> Option<u32> {
        for _ in 0..DRAWS {
            let endpoint = self.shares.at(below(self.shares.total(), random()))?;
            if usable(endpoint) {
                return Some(endpoint);
            }
        }
        let candidates = || {
            let places = self.shares.places().iter().enumerate();
            places.filter(|&(_, &endpoint)| usable(endpoint)).map(|(order, &endpoint)| (endpoint, self.shares.width(order)))
        };
        let mut position = below(candidates().map(|(_, width)| width).sum(), random());
        for (endpoint, width) in candidates() {
            if position < width {
                return Some(endpoint);
            }
            position -= width;
        }
        None
    }
}

/// Scale an even number to those below a limit, without a division.
#[inline]
fn below(limit: u64, random: u64) -> u64 {
    ((u128::from(random) * u128::from(limit)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::mix;

    fn counts(weights: &[u32], draws: u64, usable: impl Fn(u32) -> bool) -> Vec<u64> {
        let method = Random::new(weights);
        let mut seed = 0_u64;
        let mut counts = vec![0; weights.len()];
        for _ in 0..draws {
            let random = || {
                seed += 1;
                mix(mix(seed, 0x5851_f42d_4c95_7f2d), 0x1405_7b7e_f767_814f)
            };
            counts[method.pick(random, &usable).expect("one is usable") as usize] += 1;
        }
        counts
    }

    #[test]
    fn odds_follow_the_weights() {
        let counts = counts(&[10, 0, 30, 60], 100_000, |_| true);
        for (count, share) in counts.into_iter().zip([10_000, 0, 30_000, 60_000_u64]) {
            assert!(count.abs_diff(share) <= 1_000, "{count} of {share}");
        }
    }

    #[test]
    fn the_usable_keep_their_odds() {
        // Of endpoints with 1 % of the weight the draws alone would hardly ever find one: the counting out does.
        let counts = counts(&[99_000, 500, 250, 250], 100_000, |endpoint| endpoint > 0);
        for (count, share) in counts.into_iter().zip([0, 50_000, 25_000, 25_000_u64]) {
            assert!(count.abs_diff(share) <= 1_000, "{count} of {share}");
        }
    }

    #[test]
    fn nobody_usable_is_nobody() {
        assert_eq!(Random::new(&[1, 1]).pick(|| 7, |_| false), None);
        assert_eq!(Random::new(&[0]).pick(|| 7, |_| true), None);
        assert_eq!(Random::new(&[]).pick(|| 7, |_| true), None);
    }

    #[test]
    fn the_first_and_the_last_can_be_drawn() {
        let method = Random::new(&[1, 2, 1]);
        assert_eq!(method.pick(|| 0, |_| true), Some(0));
        assert_eq!(method.pick(|| u64::MAX, |_| true), Some(2));
    }
}
