// SPDX-License-Identifier: Apache-2.0
//! The table against the paper's own pseudocode, and the properties it is used for.

#![expect(clippy::cast_precision_loss, reason = "shares of small numbers")]

use super::*;

const SEED: &[u8] = b"6f0c7a3e-2f4b-4d0c-9c39-5f1c1a7f0b11";

fn endpoints(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("10.{}.{}.{}:8080", at >> 16, (at >> 8) & 255, at & 255)).collect()
}

fn build(endpoints: &[String], weights: &[u32], size: usize) -> Table {
    Table::build(endpoints, weights, SEED, size).expect("these arguments are good")
}

fn even(count: usize, size: usize) -> Table {
    build(&endpoints(count), &vec![1; count], size)
}

/// Pseudocode 1 of the paper, word for word: a whole permutation per endpoint, a modulo per step.
fn paper(names: &[String], weights: &[u32], size: usize) -> Vec<u32> {
    let (offset_seed, skip_seed) = (xxh64(SEED, 0), xxh64(SEED, 1));
    let mut order: Vec<usize> = (0..names.len()).filter(|&at| weights[at] > 0).collect();
    order.sort_by(|&one, &other| names[one].cmp(&names[other]));
    let permutation: Vec<Vec<usize>> = order
        .iter()
        .map(|&at| {
            let offset = xxh64(names[at].as_bytes(), offset_seed) % size as u64;
            let skip = xxh64(names[at].as_bytes(), skip_seed) % (size as u64 - 1) + 1;
            (0..size as u64).map(|j| ((offset + j * skip) % size as u64) as usize).collect()
        })
        .collect();
    let heaviest = order.iter().map(|&at| u64::from(weights[at])).max().unwrap_or_default();
    let mut next = vec![0; order.len()];
    let mut gained = vec![0; order.len()];
    let mut entry: Vec<Option<u32>> = vec![None; size];
    let mut filled = 0;
    loop {
        for i in 0..order.len() {
            gained[i] += u64::from(weights[order[i]]);
            if gained[i] < heaviest {
                continue;
            }
            gained[i] -= heaviest;
            let mut candidate = permutation[i][next[i]];
            while entry[candidate].is_some() {
                next[i] += 1;
                candidate = permutation[i][next[i]];
            }
            entry[candidate] = Some(order[i] as u32);
            next[i] += 1;
            filled += 1;
            if filled == size {
                return entry.into_iter().flatten().collect();
            }
        }
    }
}

#[test]
fn every_slot_is_the_papers() {
    for (count, size) in [(1, 7), (3, 251), (10, 1021), (100, 2039), (251, 251), (7, 2)] {
        let size = size.max(if count > size { 11 } else { size });
        let names = endpoints(count);
        for weights in [vec![1; count], (0..count as u32).map(|at| at % 5).collect(), vec![100; count]] {
            if weights.iter().any(|&weight| weight > 0) {
                assert_eq!(build(&names, &weights, size).slots, paper(&names, &weights, size), "{count} in {size}");
            }
        }
    }
}

#[test]
fn shares_follow_the_weights() {
    let weights = [1, 2, 3, 0, 100];
    let table = build(&endpoints(5), &weights, 65521);
    for (at, weight) in weights.into_iter().enumerate() {
        let slots = table.slots.iter().filter(|&&slot| slot as usize == at).count();
        let share = 65521.0 * f64::from(weight) / 106.0;
        assert!((slots as f64 - share).abs() <= 2.0, "endpoint {at} has {slots} slots of {share}");
    }
}

#[test]
fn equal_endpoints_differ_by_one_slot_at_most() {
    for count in [1, 2, 3, 10, 99, 100, 1000] {
        let table = even(count, 0);
        let mut slots = vec![0_usize; count];
        table.slots.iter().for_each(|&slot| slots[slot as usize] += 1);
        let (least, most) = (slots.iter().min(), slots.iter().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{count}: {least:?} to {most:?}");
    }
}

#[test]
fn the_order_of_the_list_does_not_matter() {
    let forwards = endpoints(50);
    let backwards: Vec<String> = forwards.iter().rev().cloned().collect();
    let named = |table: &Table, names: &[String]| -> Vec<String> {
        table.slots.iter().map(|&slot| names[slot as usize].clone()).collect()
    };
    let ones = vec![1; 50];
    assert_eq!(named(&build(&forwards, &ones, 0), &forwards), named(&build(&backwards, &ones, 0), &backwards));
}

#[test]
fn few_move_when_one_of_a_hundred_leaves() {
    let size = 16381; // 163 slots an endpoint
    let whole = even(100, size);
    let mut needless = 0;
    for gone in 0..100 {
        let weights: Vec<u32> = (0..100).map(|at| u32::from(at != gone)).collect();
        let without = build(&endpoints(100), &weights, size);
        let stayed = whole.slots.iter().zip(&without.slots).filter(|(before, _)| **before != gone);
        needless += stayed.filter(|(before, after)| before != after).count();
    }
    let share = needless as f64 / (100 * size) as f64;
    assert!(share <= 0.02, "{share}");
}

#[test]
fn services_get_tables_of_their_own() {
    let names = endpoints(10);
    let one = Table::build(&names, &[1; 10], b"one", 1021).unwrap();
    let other = Table::build(&names, &[1; 10], b"other", 1021).unwrap();
    let same = one.slots.iter().zip(&other.slots).filter(|(one, other)| one == other).count();
    assert!(same < 1021 / 5, "{same} slots are the same");
}

#[test]
fn the_hash_is_the_documented_one_for_ever() {
    // XXH64's own test vectors; and slots of a table, so that an upgrade cannot move every connection unseen.
    assert_eq!(xxh64(b"", 0), 0xef46_db37_51d8_e999);
    assert_eq!(xxh64(b"abc", 0), 0x44bc_2cf5_ad77_0999);
    let table = even(3, 251);
    assert_eq!(table.slots[..12], [2, 0, 1, 0, 1, 1, 2, 1, 1, 0, 0, 1]);
}

#[test]
fn what_cannot_be_built_is_refused() {
    assert_eq!(Table::build(&endpoints(2), &[1], SEED, 0), Err(Error::Weights(2, 1)));
    assert_eq!(Table::build(&endpoints(2), &[1, 1], SEED, 65536), Err(Error::NotPrime(65536)));
    assert_eq!(Table::build(&endpoints(8), &[1; 8], SEED, 7), Err(Error::TooSmall(8, 7)));
    assert_eq!(Error::NotPrime(4).to_string(), "a Maglev table of 4 slots: its size must be a prime");
}

#[test]
fn nobody_usable_is_an_empty_table() {
    let table = build(&endpoints(2), &[0, 0], 0);
    assert!(table.slots.is_empty());
    assert_eq!(table.pick(7), None);
    assert_eq!(table.spread(2, 10), [0, 0]);
}

#[test]
fn picks_reach_the_first_and_the_last_slot() {
    let table = even(3, 251);
    assert_eq!(table.pick(0), Some(table.slots[0]));
    assert_eq!(table.pick(u64::MAX), Some(table.slots[250]));
}

#[test]
fn what_an_unusable_endpoint_had_is_shared_among_the_others() {
    let table = even(5, 0);
    let mut picks = [0_usize; 5];
    for key in 0..100_000_u64 {
        let hash = xxh64(&key.to_le_bytes(), 0);
        let pick = table.pick_among(hash, |endpoint| endpoint != 2).unwrap();
        assert!(table.pick(hash) == Some(2) || table.pick(hash) == Some(pick));
        picks[pick as usize] += 1;
    }
    assert_eq!(picks[2], 0);
    assert!([0, 1, 3, 4].into_iter().all(|at| picks[at].abs_diff(25_000) < 2_500), "{picks:?}");
    assert_eq!(table.pick_among(u64::MAX, |_| false), None);
    assert_eq!(build(&endpoints(1), &[0], 0).pick_among(7, |_| true), None);
}

#[test]
fn sizes_leave_a_hundred_slots_an_endpoint() {
    assert_eq!(
        [size(0), size(2), size(3), size(10), size(100), size(655), size(1310), size(5000)],
        [251, 251, 509, 1021, 16381, 65521, 131_071, 131_071]
    );
    assert!(SIZES.into_iter().all(is_prime));
}
