// SPDX-License-Identifier: Apache-2.0
//! What is written is read; what is random is survived.

use super::*;
use crate::message::{append, netfilter, Header};

const HEADER: Header = Header { kind: 0x0a0c, flags: 0x400, sequence: 7, own: netfilter(2, 0) };

#[test]
fn a_message_reads_as_it_was_written() {
    let mut bytes = Vec::new();
    append(&mut bytes, HEADER, |body| {
        body.put_text(1, "table");
        body.nest(3, |list| {
            list.put(1, &[1, 2, 3]);
            list.put(1, &0x0102_0304_u32.to_be_bytes());
        });
    });
    append(&mut bytes, Header { sequence: 8, ..HEADER }, |_| {});

    let read: Vec<Message<'_>> = messages(&bytes).collect();
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].kind, read[0].flags, read[0].sequence, read[0].family()), (0x0a0c, 0x401, 7, 2));
    let outer: Vec<Attribute<'_>> = read[0].attributes().collect();
    assert_eq!((outer[0].kind, outer[0].text(), outer[0].offset), (1, "table".to_owned(), 0));
    assert_eq!((outer[1].kind, outer[1].offset), (3, 12));
    let inner: Vec<Attribute<'_>> = outer[1].nested().collect();
    assert_eq!((inner[0].content, inner[0].u32()), (&[1, 2, 3][..], None));
    assert_eq!((inner[1].u32(), inner[1].u64(), inner[1].offset), (Some(0x0102_0304), None, 8));
    assert_eq!((read[1].sequence, read[1].attributes().count()), (8, 0));
}

#[test]
fn a_refusal_tells_number_text_and_place() {
    let mut payload = (-17_i32).to_ne_bytes().to_vec();
    payload.extend_from_slice(&[0; 16]); // the request's header
    let mut attributes = Vec::new();
    crate::message::Body::loose(&mut attributes).put_text(1, "Set is full");
    crate::message::Body::loose(&mut attributes).put(2, &68_u32.to_ne_bytes());
    payload.extend_from_slice(&attributes);
    let flags = (libc::NLM_F_CAPPED | libc::NLM_F_ACK_TLVS) as u16;
    let refusal = Message { kind: libc::NLMSG_ERROR as u16, flags, sequence: 1, port: 0, payload: &payload };
    assert_eq!(refusal.verdict(), Some(Verdict { errno: 17, text: Some("Set is full".to_owned()), offset: Some(68) }));

    let bare = Message { flags: 0, payload: &payload[..4], ..refusal };
    assert_eq!(bare.verdict(), Some(Verdict { errno: 17, text: None, offset: None }));
    assert_eq!(Message { payload: &[1], ..refusal }.verdict(), None);
}

#[test]
fn random_bytes_are_survived() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..200_000 {
        let mut bytes = random.bytes();
        read_everything(&bytes);
        // The same with a believable length, so that the reading gets further.
        if bytes.len() >= 4 {
            let length = bytes.len() as u32;
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            read_everything(&bytes);
        }
    }
}

#[test]
fn a_good_message_with_one_byte_changed_is_survived() {
    let mut good = Vec::new();
    append(&mut good, HEADER, |body| {
        body.put_text(1, "t");
        body.nest(3, |list| list.nest(1, |element| element.nest(1, |key| key.put(1, &[1, 2, 3, 4]))));
    });
    for at in 0..good.len() {
        for value in 0..=255 {
            let mut changed = good.clone();
            changed[at] = value;
            read_everything(&changed);
            read_everything(&changed[..at]);
        }
    }
}

fn read_everything(bytes: &[u8]) {
    for message in messages(bytes) {
        let _ = (message.family(), message.verdict());
        crate::nftables::read_for_test(&message);
        crate::conntrack::read_for_test(&message);
        crate::ipvs::read_for_test(&message);
        descend(message.attributes(), 4);
    }
    descend(attributes(bytes), 4);
}

fn descend(attributes: Attributes<'_>, depth: u32) {
    for attribute in attributes {
        let _ = (attribute.text(), attribute.u16(), attribute.u32(), attribute.u64(), attribute.native());
        let _ = (attribute.address(2), attribute.address(10));
        if depth > 0 {
            descend(attribute.nested(), depth - 1);
        }
    }
}

/// Marsaglia's xorshift: the same bytes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.next() % 97;
        // Small numbers come often: they are what lengths and kinds look like.
        (0..length).map(|_| if self.next() % 3 == 0 { self.next() as u8 } else { (self.next() % 24) as u8 }).collect()
    }
}
