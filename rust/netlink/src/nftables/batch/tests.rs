// SPDX-License-Identifier: Apache-2.0
//! Operations become messages: in order, sharing where they can, never overflowing.

use super::*;
use crate::parse::{messages, Message};

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn batch() -> Batch {
    Batch::new(2, "kproxy").expect("a good name")
}

fn add(batch: &mut Batch, set: &str, number: u32) {
    batch.push(true, set, &NewElement { key: &key(number), ..NewElement::default() }).expect("a good element");
}

fn encode(batch: &Batch) -> Encoded {
    batch.encode(0..batch.len(), |_| 100).0
}

/// `(kind, set, keys)` of each message between the two that frame a batch.
fn read(encoded: &Encoded) -> Vec<(u16, String, Vec<Vec<u8>>)> {
    let all: Vec<Message<'_>> = messages(&encoded.bytes).collect();
    assert_eq!((all[0].kind, all[all.len() - 1].kind), (wire::BATCH_BEGIN, wire::BATCH_END));
    assert!(all.iter().enumerate().all(|(at, message)| message.sequence == 100 + at as u32));
    let elements = |message: &Message<'_>| {
        let list = message.attributes().find(|each| each.kind == wire::LIST_ELEMENTS).expect("a list");
        list.nested().map(|element| Element::read(element.nested()).key).collect()
    };
    all[1..all.len() - 1]
        .iter()
        .map(|message| {
            let set = message.attributes().find(|each| each.kind == wire::LIST_SET).expect("a set").text();
            (message.kind, set, elements(message))
        })
        .collect()
}

#[test]
fn consecutive_operations_of_one_verb_and_set_share_a_message() {
    let mut batch = batch();
    add(&mut batch, "slots", 1);
    add(&mut batch, "slots", 2);
    add(&mut batch, "endpoints", 3);
    batch.push(false, "slots", &NewElement { key: &key(4), ..NewElement::default() }).unwrap();
    add(&mut batch, "slots", 5);

    let encoded = encode(&batch);
    let keys = |numbers: &[u32]| numbers.iter().map(|&number| key(number).to_vec()).collect::<Vec<_>>();
    assert_eq!(
        read(&encoded),
        [
            (wire::NEW_ELEMENT, "slots".to_owned(), keys(&[1, 2])),
            (wire::NEW_ELEMENT, "endpoints".to_owned(), keys(&[3])),
            (wire::DELETE_ELEMENT, "slots".to_owned(), keys(&[4])),
            (wire::NEW_ELEMENT, "slots".to_owned(), keys(&[5])),
        ]
    );
    assert_eq!(encoded.messages.iter().map(|&(_, operation)| operation).collect::<Vec<_>>(), [0, 2, 3, 4]);
}

#[test]
fn every_part_of_an_element_survives() {
    let element = NewElement { key: &[1; 12], data: Some(&[2; 8]), key_end: Some(&[3; 12]), timeout: 20_000 };
    let mut batch = batch();
    batch.push(true, "ranges", &element).unwrap();
    let operation = batch.operations().next().expect("one operation");
    assert_eq!((operation.add, operation.set), (true, "ranges"));
    assert_eq!(operation.element.as_new(), element);
}

#[test]
fn a_message_holds_no_more_than_an_attribute_can() {
    let mut batch = batch();
    (0..10_000).for_each(|number| add(&mut batch, "slots", number));
    let encoded = encode(&batch);
    let read = read(&encoded);
    assert!(read.len() > 1);
    assert_eq!(read.iter().map(|(_, _, keys)| keys.len()).sum::<usize>(), 10_000);
    let mut before = 0;
    for (message, (_, _, keys)) in encoded.messages.iter().zip(&read) {
        assert_eq!(message.1, before);
        assert_eq!(keys[0], key(before as u32));
        before += keys.len();
    }
}

#[test]
fn pieces_hold_everything_once_and_keep_their_bounds() {
    let mut batch = batch();
    for number in 0..5_000 {
        add(&mut batch, if number % 7 == 0 { "slots" } else { "endpoints" }, number);
    }
    for (operations, bytes) in [(1, usize::MAX), (1000, usize::MAX), (usize::MAX, 20_000), (333, 2_000), (10, 1)] {
        let mut from = 0;
        while from < batch.len() {
            let (piece, bound) = batch.piece(from, operations, bytes);
            assert_eq!(piece.start, from);
            assert!(!piece.is_empty() && piece.len() <= operations);
            let size = batch.encode(piece.clone(), |_| 1).0.bytes.len();
            assert!(size <= bound, "{size} bytes were bound by {bound}");
            assert!(bound <= bytes || piece.len() == 1);
            from = piece.end;
        }
        assert_eq!(from, batch.len());
    }
}

#[test]
fn what_no_message_can_carry_is_refused() {
    let mut batch = batch();
    for key in [&[][..], &[0; 65]] {
        assert_eq!(batch.push(true, "s", &NewElement { key, ..NewElement::default() }).unwrap_err().errno, libc::EINVAL);
    }
    for name in ["", "a\0b", &"x".repeat(256)] {
        assert!(batch.push(true, name, &NewElement { key: &[1], ..NewElement::default() }).is_err(), "{name}");
        assert!(Batch::new(2, name).is_err(), "{name}");
    }
    assert!(batch.add_many("s", &[1, 2, 3], 2, None).is_err());
    assert!(batch.add_many("s", &[1, 2, 3, 4], 2, Some((&[1, 2, 3], 1))).is_err());
    assert!(batch.is_empty());
}

#[test]
fn an_operation_is_told_as_a_person_would() {
    let mut batch = batch();
    add(&mut batch, "slots", 0x0a60_0001);
    assert_eq!(batch.describe(0), "add element ip kproxy slots (key 0a600001)");
}
