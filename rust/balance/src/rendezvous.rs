// SPDX-License-Identifier: Apache-2.0
//! Rendezvous hashing (highest random weight): every endpoint draws a number from the client's hash, the best one wins.
//!
//! No table, and no needless move at all: when an endpoint leaves, only its own clients do. One multiplication an endpoint
//! and pick, so it is for lists that are not long. Weights follow Schindelhain and Schomaker: an endpoint of weight `w` that
//! draws `u` between 0 and 1 scores `-w / ln u`, which makes it win in proportion to `w`.

use crate::hash::{endpoint, mix};

/// The hashes of a Service's endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendezvous {
    hashes: Vec<u64>,
    /// Places in the list this was built from.
    places: Vec<u32>,
    /// In the order of `hashes`; empty when all are equal.
    weights: Vec<f64>,
}

impl Rendezvous {
    /// `endpoints` are names such as `ip:port`, each with its weight; the seed is the Service's own.
    pub fn new(endpoints: &[impl AsRef<[u8]>], weights: &[u32], seed: &[u8]) -> Self {
        let count = endpoints.len().min(weights.len());
        let mut usable: Vec<usize> = (0..count).filter(|&at| weights[at] > 0).collect();
        // In the order of names, so that a tie is decided alike whatever the order of the list.
        usable.sort_by_key(|&at| endpoints[at].as_ref());
        let even = usable.windows(2).all(|pair| weights[pair[0]] == weights[pair[1]]);
        Self {
            hashes: usable.iter().map(|&at| endpoint(endpoints[at].as_ref(), seed)).collect(),
            places: usable.iter().map(|&at| at as u32).collect(),
            weights: if even { Vec::new() } else { usable.iter().map(|&at| f64::from(weights[at])).collect() },
        }
    }

    /// The endpoint for a client's hash; None if nobody is usable.
    #[inline]
    pub fn pick(&self, hash: u64) -> Option<u32> {
        if !self.weights.is_empty() {
            return self.pick_among(hash, |_| true);
        }
        let (mut best, mut winner) = (0, 0);
        for (at, &endpoint) in self.hashes.iter().enumerate() {
            let draw = mix(endpoint, hash);
            if draw > best {
                (best, winner) = (draw, at);
            }
        }
        self.places.get(winner).copied()
    }

    /// The best of the endpoints that are usable: the next in the client's own order when its first is not.
    pub fn pick_among(&self, hash: u64, usable: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best: Option<(f64, u64, u32)> = None;
        for (at, (&endpoint, &place)) in self.hashes.iter().zip(&self.places).enumerate() {
            if !usable(place) {
                continue;
            }
            let draw = mix(endpoint, hash);
            let score = self.weights.get(at).map_or(0.0, |weight| -weight / unit(draw).ln());
            if best.is_none_or(|(highest, drawn, _)| (score, draw) > (highest, drawn)) {
                best = Some((score, draw, place));
            }
        }
        best.map(|(_, _, place)| place)
    }

    /// How often each of `endpoints` endpoints is picked by so many hashes that are spread evenly.
    pub fn spread(&self, endpoints: usize, keys: u64) -> Vec<u64> {
        let mut picks = vec![0; endpoints];
        let mut hash = 0_u64;
        for _ in 0..keys {
            hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
            if let Some(count) = self.pick(hash).and_then(|endpoint| picks.get_mut(endpoint as usize)) {
                *count += 1;
            }
        }
        picks
    }
}

/// A number between 0 and 1, neither of them reached. Half of the draw's bits are enough: a tie is decided by the whole draw.
fn unit(draw: u64) -> f64 {
    const STEP: f64 = 1.0 / 4_294_967_296.0;
    (f64::from((draw >> 32) as u32) + 0.5) * STEP
}

#[cfg(test)]
mod tests;
