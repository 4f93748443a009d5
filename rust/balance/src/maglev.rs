// SPDX-License-Identifier: Apache-2.0
//! Maglev hashing (Eisenbud et al., NSDI '16, section 3.4), with weights.
//!
//! Each endpoint has its own permutation of the table's slots; endpoints take turns, and at its turn each takes the first
//! free slot of its permutation. The table is a pure function of the *set* of endpoints: nodes agree without talking, and
//! when an endpoint leaves, few connections of the others move.
//!
//! What is added to the paper:
//! - **Weights** by Katran's turn rule: at each turn an endpoint gains its weight, and takes a slot when its gains have
//!   reached the largest weight. With equal weights that is the paper's rule.
//! - **Steps by addition** where the paper computes `(offset + j * skip) mod M` for each `j`: the same sequence, without a
//!   division a step.
//! - **Order**: endpoints take turns in the order of their names, whatever order they are given in.
//!
//! The hash is XXH64 of the endpoint's name, seeded with XXH64 of the Service's seed (under seeds 0 and 1 for offset and
//! skip). Two Services with the same endpoints thus get different tables, and no endpoint is everybody's favourite.

use std::fmt;

use xxhash_rust::xxh64::xxh64;

use crate::hash::mix;

/// Table sizes to choose from: primes just below powers of two, as Cilium has them.
pub const SIZES: [usize; 10] = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071];

/// Slots an endpoint should have: no endpoint then gets more than 1 % above its share.
const SLOTS_PER_ENDPOINT: usize = 100;

/// Hashes tried in search of a usable endpoint before the slots are searched.
const PROBES: u64 = 16;

/// Keeps a probe's hash apart from its client's.
const PROBE_SEED: u64 = 0x5851_f42d_4c95_7f2d;

const FREE: u32 = u32::MAX;

/// A table of slots, each naming an endpoint by its place in the list the table was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    slots: Vec<u32>,
}

/// Why no table can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// So many endpoints, and a different number of weights.
    Weights(usize, usize),
    /// A size that is not prime, so that permutations would miss slots.
    NotPrime(usize),
    /// More endpoints than slots: endpoints, slots.
    TooSmall(usize, usize),
}

/// An endpoint's walk through its permutation of the slots.
struct Walk {
    endpoint: u32,
    weight: u64,
    gained: u64,
    slot: usize,
    skip: usize,
}

/// The smallest size of `SIZES` with 100 slots for each endpoint, else the largest.
pub fn size(endpoints: usize) -> usize {
    let wanted = endpoints.saturating_mul(SLOTS_PER_ENDPOINT);
    SIZES.into_iter().find(|&size| size >= wanted).unwrap_or(SIZES[SIZES.len() - 1])
}

impl Table {
    /// Build a table of `size` slots, or of `size(endpoints)` if that is 0.
    ///
    /// `endpoints` are names, such as `ip:port`. An endpoint of weight 0 gets no slot; if that leaves nobody the table is
    /// empty. The seed is the Service's own, such as its UID.
    pub fn build(endpoints: &[impl AsRef<[u8]>], weights: &[u32], seed: &[u8], size: usize) -> Result<Self, Error> {
        if endpoints.len() != weights.len() {
            return Err(Error::Weights(endpoints.len(), weights.len()));
        }
        let mut usable: Vec<usize> = (0..endpoints.len()).filter(|&at| weights[at] > 0).collect();
        usable.sort_by_key(|&at| endpoints[at].as_ref());
        let size = if size == 0 { self::size(usable.len()) } else { size };
        if !is_prime(size) || u32::try_from(size).is_err() {
            return Err(Error::NotPrime(size));
        }
        if usable.len() > size {
            return Err(Error::TooSmall(usable.len(), size));
        }
        let seeds = (xxh64(seed, 0), xxh64(seed, 1));
        let walks = usable.iter().map(|&at| {
            let name = endpoints[at].as_ref();
            Walk {
                endpoint: at as u32,
                weight: u64::from(weights[at]),
                gained: 0,
                slot: (xxh64(name, seeds.0) % size as u64) as usize,
                skip: (xxh64(name, seeds.1) % (size as u64 - 1)) as usize + 1,
            }
        });
        Ok(Self { slots: fill(size, walks.collect()) })
    }

    /// The slots: each is an endpoint's place in the list.
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The endpoint for a 64-bit hash; None if nobody is usable.
    #[inline]
    pub fn pick(&self, hash: u64) -> Option<u32> {
        self.slots.get(self.slot(hash)).copied()
    }

    /// The endpoint for a hash, or where the hash of that hash leads when it is not usable; None if nobody is.
    ///
    /// Hashing again shares what an unusable endpoint would have evenly among the others; the next slot would not, because
    /// endpoints follow each other in a pattern. When it is usable again its clients are back.
    pub fn pick_among(&self, mut hash: u64, usable: impl Fn(u32) -> bool) -> Option<u32> {
        for probe in 0..PROBES {
            let endpoint = self.pick(hash)?;
            if usable(endpoint) {
                return Some(endpoint);
            }
            hash = mix(hash, PROBE_SEED + probe);
        }
        let (before, after) = self.slots.split_at(self.slot(hash));
        after.iter().chain(before).copied().find(|&endpoint| usable(endpoint))
    }

    #[inline]
    fn slot(&self, hash: u64) -> usize {
        // Scales the hash to the table's size by multiplication: a modulo would cost more than the rest.
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    /// How often each of `endpoints` endpoints is picked by the hashes of the numbers below `keys`.
    pub fn spread(&self, endpoints: usize, keys: u64) -> Vec<u64> {
        let mut picks = vec![0; endpoints];
        let mut hash = 0_u64;
        for _ in 0..keys {
            // The golden ratio's multiples fill the range evenly and in no order that a cache would like.
            hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
            if let Some(count) = self.pick(hash).and_then(|endpoint| picks.get_mut(endpoint as usize)) {
                *count += 1;
            }
        }
        picks
    }
}

fn fill(size: usize, mut walks: Vec<Walk>) -> Vec<u32> {
    let Some(heaviest) = walks.iter().map(|walk| walk.weight).max() else { return Vec::new() };
    let uneven = walks.iter().any(|walk| walk.weight != heaviest);
    let mut slots = vec![FREE; size];
    let mut free = size;
    loop {
        for walk in &mut walks {
            if uneven && !walk.has_turn(heaviest) {
                continue;
            }
            let mut slot = walk.slot;
            while slots[slot] != FREE {
                slot += walk.skip;
                if slot >= size {
                    slot -= size;
                }
            }
            slots[slot] = walk.endpoint;
            walk.slot = slot;
            free -= 1;
            if free == 0 {
                return slots;
            }
        }
    }
}

impl Walk {
    /// Gain the weight; true when that makes a turn.
    fn has_turn(&mut self, heaviest: u64) -> bool {
        self.gained += self.weight;
        let turn = self.gained >= heaviest;
        if turn {
            self.gained -= heaviest;
        }
        turn
    }
}

fn is_prime(number: usize) -> bool {
    number >= 2 && (2..=number.isqrt()).all(|divisor| number % divisor != 0)
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights(endpoints, weights) => write!(out, "{endpoints} endpoints cannot have {weights} weights"),
            Self::NotPrime(size) => write!(out, "a Maglev table of {size} slots: its size must be a prime"),
            Self::TooSmall(endpoints, size) => write!(out, "{endpoints} endpoints need more than {size} slots"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests;
