// SPDX-License-Identifier: Apache-2.0
//! Shares, stability and order of rendezvous hashing.

use xxhash_rust::xxh64::xxh64;

use super::*;

const SEED: &[u8] = b"6f0c7a3e-2f4b-4d0c-9c39-5f1c1a7f0b11";

fn endpoints(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("10.{}.{}.{}:8080", at >> 16, (at >> 8) & 255, at & 255)).collect()
}

fn build(count: usize, weights: &[u32]) -> Rendezvous {
    Rendezvous::new(&endpoints(count), weights, SEED)
}

fn keys(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|key| xxh64(&key.to_le_bytes(), 0))
}

#[test]
fn equal_endpoints_get_equal_shares() {
    for count in [2, 3, 10, 64] {
        let method = build(count, &vec![1; count]);
        let mut picks = vec![0_u64; count];
        keys(200_000).for_each(|key| picks[method.pick(key).unwrap() as usize] += 1);
        let mean = 200_000 / count as u64;
        // Five standard deviations of a fair draw.
        let slack = 5 * mean.isqrt();
        assert!(picks.iter().all(|count| count.abs_diff(mean) <= slack), "{count}: {picks:?}");
    }
}

#[test]
fn evenly_spread_hashes_are_shared_evenly_too() {
    let picks = build(100, &[1; 100]).spread(100, 1_000_000);
    let most = picks.iter().max().unwrap();
    assert!(*most <= 10_500, "{picks:?}");
}

#[test]
fn shares_follow_the_weights() {
    let method = build(4, &[1, 0, 3, 6]);
    let mut picks = [0_u64; 4];
    keys(100_000).for_each(|key| picks[method.pick(key).unwrap() as usize] += 1);
    for (picked, share) in picks.into_iter().zip([10_000, 0, 30_000, 60_000]) {
        assert!(picked.abs_diff(share) <= 1_000, "{picks:?}");
    }
}

#[test]
fn when_an_endpoint_leaves_only_its_own_clients_move() {
    for weights in [vec![1; 10], (1..=10).collect()] {
        let whole = build(10, &weights);
        for gone in 0..10 {
            let mut left = weights.clone();
            left[gone] = 0;
            let without = build(10, &left);
            for key in keys(2_000) {
                let before = whole.pick(key).unwrap();
                let after = without.pick(key).unwrap();
                assert!(before == gone as u32 || before == after);
                assert_eq!(after, whole.pick_among(key, |endpoint| endpoint != gone as u32).unwrap());
            }
        }
    }
}

#[test]
fn the_clients_of_one_that_left_are_shared_by_all_others() {
    let method = build(4, &[1; 4]);
    let mut picks = [0_u64; 4];
    for key in keys(60_000).filter(|&key| method.pick(key) == Some(2)) {
        picks[method.pick_among(key, |endpoint| endpoint != 2).unwrap() as usize] += 1;
    }
    assert_eq!(picks[2], 0);
    for at in [0, 1, 3] {
        assert!(picks[at].abs_diff(5_000) <= 500, "{picks:?}");
    }
}

#[test]
fn the_order_of_the_list_does_not_matter() {
    let (forwards, backwards): (Vec<String>, Vec<String>) = (endpoints(20), endpoints(20).into_iter().rev().collect());
    let (one, other) = (Rendezvous::new(&forwards, &[1; 20], SEED), Rendezvous::new(&backwards, &[1; 20], SEED));
    for key in keys(1_000) {
        let name = |list: &[String], method: &Rendezvous| list[method.pick(key).unwrap() as usize].clone();
        assert_eq!(name(&forwards, &one), name(&backwards, &other));
    }
}

#[test]
fn a_change_of_one_weight_moves_clients_from_or_to_that_endpoint_only() {
    let (before, after) = (build(5, &[10, 20, 30, 40, 50]), build(5, &[10, 20, 60, 40, 50]));
    for key in keys(5_000) {
        let (was, is) = (before.pick(key).unwrap(), after.pick(key).unwrap());
        assert!(was == is || is == 2, "{was} became {is}");
    }
}

#[test]
fn services_have_orders_of_their_own() {
    let names = endpoints(10);
    let (one, other) = (Rendezvous::new(&names, &[1; 10], b"one"), Rendezvous::new(&names, &[1; 10], b"other"));
    let same = keys(1_000).filter(|&key| one.pick(key) == other.pick(key)).count();
    assert!(same < 200, "{same} of 1000 are the same");
}

#[test]
fn picks_stay_what_they_were_for_ever() {
    // So that an upgrade cannot move every client unseen.
    let method = build(5, &[1; 5]);
    assert_eq!(
        (0..12).map(|key| method.pick(xxh64(&[key], 0)).unwrap()).collect::<Vec<_>>(),
        [2, 1, 0, 2, 0, 4, 4, 1, 2, 3, 0, 0]
    );
}

#[test]
fn nobody_usable_is_nobody() {
    assert_eq!(build(0, &[]).pick(7), None);
    assert_eq!(build(2, &[0, 0]).pick(7), None);
    assert_eq!(build(2, &[1, 1]).pick_among(7, |_| false), None);
    assert_eq!(build(2, &[1, 2]).pick_among(7, |endpoint| endpoint == 0), Some(0));
}
