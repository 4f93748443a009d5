// SPDX-License-Identifier: Apache-2.0
//! Entries as the kernel lays them out.

use super::*;

/// An entry with a target of that name (for `ERROR`: of a chain of that name) and these counters.
fn entry(name: &str, chain: &str, packets: u64) -> Vec<u8> {
    let target = IPV4.counters + COUNTERS;
    let mut bytes = vec![0; target + TARGET_DATA + 32];
    let length = u16::try_from(bytes.len()).expect("short");
    bytes[IPV4.offsets..IPV4.offsets + 2].copy_from_slice(&u16::try_from(target).expect("short").to_ne_bytes());
    bytes[IPV4.offsets + 2..IPV4.offsets + 4].copy_from_slice(&length.to_ne_bytes());
    bytes[IPV4.counters..IPV4.counters + 8].copy_from_slice(&packets.to_ne_bytes());
    bytes[target + TARGET_NAME..][..name.len()].copy_from_slice(name.as_bytes());
    bytes[target + TARGET_DATA..][..chain.len()].copy_from_slice(chain.as_bytes());
    bytes
}

fn table(packets: u64) -> Vec<u8> {
    [
        entry("", "", 1), // a built-in chain's
        entry("ERROR", "KPX-A", 0),
        entry("DNAT", "", packets),
        entry("", "", 9), // the rule that returns
        entry("ERROR", "KPX-B", 0),
        entry("", "", 0),
        entry("ERROR", "ERROR", 0),
    ]
    .concat()
}

#[test]
fn chains_count_without_the_rule_that_returns() {
    let read = read(&table(5), IPV4);
    let chain = |name: &str, counts| Chain { name: name.to_owned(), counts };
    assert_eq!(read.chains, [chain("KPX-A", vec![(5, 0)]), chain("KPX-B", Vec::new())]);
}

#[test]
fn counters_leave_the_fingerprint_alone() {
    assert_eq!(read(&table(5), IPV4).fingerprint, read(&table(6), IPV4).fingerprint);
    let mut other = table(5);
    let byte = other.len() / 2;
    other[byte] ^= 1;
    assert_ne!(read(&table(5), IPV4).fingerprint, read(&other, IPV4).fingerprint);
}

#[test]
fn what_is_cut_short_or_wild_is_no_panic() {
    let whole = table(5);
    for length in 0..whole.len() {
        read(&whole[..length], IPV4);
        read(&whole[..length], IPV6);
    }
    read(&[0xff; 4096], IPV6);
}
