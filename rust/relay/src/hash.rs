// SPDX-License-Identifier: Apache-2.0
//! A fast hasher for keys that strangers may choose, such as clients' addresses.
//!
//! Seeded by chance once a process, so that nobody can aim many keys at one slot of a map.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

use balance::hash::mix;

/// Maps of this crate are built with it.
#[derive(Debug, Clone, Copy)]
pub struct Seeded(u64);

/// A hash in the making.
#[derive(Debug, Clone, Copy)]
pub struct Mixing(u64);

/// A map by fast hashes.
pub type Map<K, V> = std::collections::HashMap<K, V, Seeded>;

/// A set by fast hashes.
pub type Set<K> = std::collections::HashSet<K, Seeded>;

/// A number that is another one in each process.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| RandomState::new().hash_one(0_u8))
}

impl Default for Seeded {
    fn default() -> Self {
        Self(seed())
    }
}

impl BuildHasher for Seeded {
    type Hasher = Mixing;

    fn build_hasher(&self) -> Mixing {
        Mixing(self.0)
    }
}

impl Hasher for Mixing {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_usize(bytes.len());
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        // The state is turned, so that a word and the one after it cannot cancel each other out.
        self.0 = mix(self.0.rotate_left(23), number);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        mix(self.0, seed())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    use super::*;

    #[test]
    fn keys_that_lie_close_spread_over_all_slots() {
        let hashes = |key: &dyn Fn(u16) -> SocketAddr| -> Vec<u64> {
            (0..4096).map(|number| Seeded::default().hash_one(key(number))).collect()
        };
        let ports = hashes(&|port| (Ipv4Addr::LOCALHOST, port).into());
        let hosts = hashes(&|host| (IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host)), 80).into());
        for hashes in [ports, hosts] {
            assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), 4096);
            for shift in [0, 26, 52] {
                let mut slots = [0_usize; 64];
                for hash in &hashes {
                    slots[(hash >> shift) as usize & 63] += 1;
                }
                assert!(slots.iter().all(|&count| (24..=110).contains(&count)), "{slots:?}");
            }
        }
    }

    #[test]
    fn every_length_of_bytes_has_a_hash_of_its_own() {
        let zeros = [0_u8; 40];
        let hashes: BTreeSet<u64> = (0..40).map(|length| Seeded::default().hash_one(&zeros[..length])).collect();
        assert_eq!(hashes.len(), 40);
    }
}
