// SPDX-License-Identifier: Apache-2.0
//! Who would be the least busy: the fewest connections for its weight, this one counted in.
//!
//! That one more connection is counted in sends the first ones to heavy endpoints; with equal weights it changes nothing.

/// The endpoints' weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeastConnections {
    weights: Vec<u32>,
}

impl LeastConnections {
    /// A weight for each endpoint of the list.
    pub fn new(weights: &[u32]) -> Self {
        Self { weights: weights.to_vec() }
    }

    /// The least busy usable endpoint.
    ///
    /// `active` tells an endpoint's connections now. Of several that are equally busy the first from `start` on is taken:
    /// a start that moves on keeps idle endpoints from all being the first one.
    pub fn pick(&self, start: u64, active: impl Fn(u32) -> u32, usable: impl Fn(u32) -> bool) -> Option<u32> {
        let count = self.weights.len();
        let start = start.checked_rem(count as u64)? as usize;
        let mut best: Option<(u32, u64, u64)> = None;
        for at in (start..count).chain(0..start) {
            let (endpoint, weight) = (at as u32, u64::from(self.weights[at]));
            if weight == 0 || !usable(endpoint) {
                continue;
            }
            let load = u64::from(active(endpoint)) + 1;
            // Compares load / weight without a division; both factors are below 2^33, the products below 2^65.
            let less = |(_, other, heavy): (u32, u64, u64)| {
                u128::from(load) * u128::from(heavy) < u128::from(other) * u128::from(weight)
            };
            if best.is_none_or(less) {
                best = Some((endpoint, load, weight));
            }
        }
        best.map(|(endpoint, _, _)| endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(weights: &[u32], connections: usize) -> Vec<u32> {
        let method = LeastConnections::new(weights);
        let mut active = vec![0_u32; weights.len()];
        for start in 0..connections as u64 {
            let endpoint = method.pick(start, |endpoint| active[endpoint as usize], |_| true).expect("all are usable");
            active[endpoint as usize] += 1;
        }
        active
    }

    #[test]
    fn the_least_busy_is_taken() {
        let active = [5, 2, 9];
        let method = LeastConnections::new(&[1, 1, 1]);
        assert_eq!(method.pick(0, |endpoint| active[endpoint as usize], |_| true), Some(1));
        assert_eq!(method.pick(0, |endpoint| active[endpoint as usize], |endpoint| endpoint != 1), Some(0));
    }

    #[test]
    fn idle_endpoints_take_turns() {
        let method = LeastConnections::new(&[1; 4]);
        let picks: Vec<_> = (0..6).map(|start| method.pick(start, |_| 0, |_| true).unwrap()).collect();
        assert_eq!(picks, [0, 1, 2, 3, 0, 1]);
    }

    #[test]
    fn connections_follow_the_weights() {
        assert_eq!(fill(&[1, 1, 1], 9), [3, 3, 3]);
        assert_eq!(fill(&[4, 0, 1, 5], 100), [40, 0, 10, 50]);
    }

    #[test]
    fn heavy_idle_endpoints_come_first() {
        assert_eq!(LeastConnections::new(&[1, 100]).pick(0, |_| 0, |_| true), Some(1));
    }

    #[test]
    fn nobody_usable_is_nobody() {
        assert_eq!(LeastConnections::new(&[]).pick(0, |_| 0, |_| true), None);
        assert_eq!(LeastConnections::new(&[0]).pick(0, |_| 0, |_| true), None);
        assert_eq!(LeastConnections::new(&[1]).pick(0, |_| 0, |_| false), None);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let method = LeastConnections::new(&[u32::MAX, 1]);
        assert_eq!(method.pick(0, |_| u32::MAX, |_| true), Some(0));
    }
}
