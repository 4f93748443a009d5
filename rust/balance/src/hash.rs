// SPDX-License-Identifier: Apache-2.0
//! What consistent methods hash with.
//!
//! An endpoint is hashed by its name (`ip:port`), seeded by its Service: a Pod that comes back under its address gets its
//! clients back, and two Services with the same endpoints do not overload the same one.

use std::net::IpAddr;

use xxhash_rust::xxh64::xxh64;

/// The multiplier of `mix`: the golden ratio, whose multiples lie far apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of an endpoint's name under a Service's seed.
pub fn endpoint(name: &[u8], seed: &[u8]) -> u64 {
    xxh64(name, xxh64(seed, 0))
}

/// The hash of a client's address, of its family or as IPv6 writes it alike.
pub fn client(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => xxh64(&address.octets(), SPREAD),
        IpAddr::V6(address) => xxh64(&address.octets(), SPREAD),
    }
}

/// Make one even 64-bit number of two, in about a nanosecond: both halves of a wide product, folded.
#[inline]
pub fn mix(one: u64, other: u64) -> u64 {
    let wide = u128::from(one ^ other) * u128::from(SPREAD);
    (wide >> 64) as u64 ^ wide as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_hashes_alike_in_both_spellings() {
        let plain: IpAddr = "192.0.2.7".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(client(plain), client(mapped));
        assert_ne!(client(plain), client("192.0.2.8".parse().unwrap()));
        assert_ne!(client("2001:db8::1".parse().unwrap()), client("2001:db8::2".parse().unwrap()));
    }

    #[test]
    fn an_endpoint_hashes_by_name_and_service() {
        let one = endpoint(b"10.0.0.1:80", b"one");
        assert_eq!(one, endpoint(b"10.0.0.1:80", b"one"));
        assert_ne!(one, endpoint(b"10.0.0.2:80", b"one"));
        assert_ne!(one, endpoint(b"10.0.0.1:80", b"other"));
    }

    #[test]
    fn every_bit_of_a_mix_is_as_often_set_as_not() {
        let fixed = endpoint(b"10.0.0.1:80", b"");
        let draws = 100_000_u64;
        for bit in 0..64 {
            let set = (0..draws).filter(|&key| mix(fixed, xxh64(&key.to_le_bytes(), 0)) >> bit & 1 == 1).count();
            assert!(set.abs_diff(draws as usize / 2) < draws as usize / 100, "bit {bit}: {set} of {draws}");
        }
    }
}
