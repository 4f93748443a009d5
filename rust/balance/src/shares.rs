// SPDX-License-Identifier: Apache-2.0
//! The weights' shares of their total: which endpoint a position below it belongs to.

/// Endpoints side by side, each as wide as its weight; endpoints of weight 0 are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Places in the caller's list.
    places: Vec<u32>,
    /// Where each endpoint's share ends; empty when all are one wide.
    ends: Vec<u64>,
    total: u64,
}

impl Shares {
    /// Weights are taken by their ratio: 50 and 100 are as 1 and 2.
    pub fn new(weights: &[u32]) -> Self {
        if weights.iter().all(|&weight| weight > 0 && weight == weights[0]) {
            return Self { places: (0..weights.len() as u32).collect(), ends: Vec::new(), total: weights.len() as u64 };
        }
        let places: Vec<u32> = (0..weights.len() as u32).filter(|&at| weights[at as usize] > 0).collect();
        let unit = places.iter().fold(0, |unit, &at| divisor(unit, u64::from(weights[at as usize])));
        let mut total = 0;
        let mut ends = Vec::with_capacity(places.len());
        for &at in &places {
            total += u64::from(weights[at as usize]) / unit;
            ends.push(total);
        }
        if total == places.len() as u64 {
            ends = Vec::new();
        }
        Self { places, ends, total }
    }

    /// How many positions there are; 0 if nobody may be chosen.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether every endpoint is as wide as every other.
    pub fn even(&self) -> bool {
        self.ends.is_empty()
    }

    /// The places of the endpoints that may be chosen.
    pub fn places(&self) -> &[u32] {
        &self.places
    }

    /// The endpoint at a position below the total.
    #[inline]
    pub fn at(&self, position: u64) -> Option<u32> {
        let order = if self.even() { position as usize } else { self.ends.partition_point(|&end| end <= position) };
        self.places.get(order).copied()
    }

    /// How wide the share of the endpoint is that comes at this order among `places`.
    pub fn width(&self, order: usize) -> u64 {
        match self.ends.get(order) {
            None => 1,
            Some(end) => end - order.checked_sub(1).map_or(0, |before| self.ends[before]),
        }
    }
}

/// The greatest common divisor.
pub(crate) fn divisor(one: u64, other: u64) -> u64 {
    if other == 0 {
        one
    } else {
        divisor(other, one % other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(weights: &[u32]) -> Vec<u32> {
        let shares = Shares::new(weights);
        (0..shares.total()).filter_map(|position| shares.at(position)).collect()
    }

    #[test]
    fn each_endpoint_is_as_wide_as_its_weight() {
        assert_eq!(all(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(all(&[3, 0, 1, 2]), [0, 0, 0, 2, 3, 3]);
    }

    #[test]
    fn only_the_ratio_of_weights_counts() {
        assert_eq!(Shares::new(&[50, 0, 100]), Shares::new(&[1, 0, 2]));
        assert_eq!(Shares::new(&[100, 100]).total(), 2);
        assert!(Shares::new(&[7, 0, 7]).even());
        assert!(!Shares::new(&[2, 1]).even());
    }

    #[test]
    fn nobody_has_no_positions() {
        for weights in [&[][..], &[0, 0]] {
            let shares = Shares::new(weights);
            assert_eq!((shares.total(), shares.at(0)), (0, None));
        }
    }

    #[test]
    fn widths_are_the_weights_by_ratio() {
        let shares = Shares::new(&[2, 0, 6, 4]);
        assert_eq!((0..3).map(|order| shares.width(order)).collect::<Vec<_>>(), [1, 3, 2]);
        assert_eq!(Shares::new(&[5, 5]).width(1), 1);
    }
}
