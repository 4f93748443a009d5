// SPDX-License-Identifier: Apache-2.0
//! Flows are read from the kernel's messages, and held against the rules.

use std::net::IpAddr;

use super::*;
use crate::conntrack::{destination, Rules};
use crate::message::{append, netfilter, Body, Header};
use crate::parse::messages;

fn packed(text: &str) -> Vec<u8> {
    let (host, port) = text.rsplit_once(':').expect("a port");
    let mut bytes = match host.trim_matches(['[', ']']).parse().expect("an address") {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    bytes.extend_from_slice(&port.parse::<u16>().expect("a number").to_be_bytes());
    bytes
}

fn write_tuple(body: &mut Body<'_>, kind: u16, source: &str, target: &str) {
    let (source, target) = (packed(source), packed(target));
    let at = source.len() - 2;
    let (from, to) = if at == 4 { (1, 2) } else { (3, 4) };
    body.nest(kind, |tuple| {
        tuple.nest(wire::TUPLE_ADDRESSES, |addresses| {
            addresses.put(from, &source[..at]);
            addresses.put(to, &target[..at]);
        });
        tuple.nest(wire::TUPLE_PROTOCOL, |protocol| {
            protocol.put(wire::PROTOCOL, &[17]);
            protocol.put(wire::SOURCE_PORT, &source[at..]);
            protocol.put(wire::DESTINATION_PORT, &target[at..]);
        });
    });
}

fn shown(client: &str, frontend: &str, endpoint: &str, see: impl FnOnce(Shown<'_>)) {
    let mut bytes = Vec::new();
    append(&mut bytes, Header { kind: wire::NEW, flags: 0, sequence: 1, own: netfilter(2, 0) }, |body| {
        write_tuple(body, wire::ORIGINAL, client, frontend);
        write_tuple(body, wire::REPLY, endpoint, client);
        body.put(wire::STATUS, &0x1a8_u32.to_be_bytes());
        body.put(wire::ID, &[1, 2, 3, 4]);
        body.put(wire::ZONE, &[0, 9]);
    });
    see(Shown::read(&messages(&bytes).next().expect("a message")).expect("a flow"));
}

#[test]
fn a_flow_is_read_with_what_names_it() {
    for (client, frontend, endpoint) in
        [("10.0.0.9:4711", "10.96.0.10:53", "10.244.1.7:5300"), ("[fd00::9]:4711", "[fd96::10]:53", "[fd00:1::7]:5300")]
    {
        shown(client, frontend, endpoint, |shown| {
            let (flow, name) = shown.name();
            assert_eq!(flow.original.protocol, 17);
            assert_eq!(flow.original.source, destination(&packed(client)).unwrap());
            assert_eq!(flow.original.destination, destination(&packed(frontend)).unwrap());
            assert_eq!(flow.reply.source, destination(&packed(endpoint)).unwrap());
            assert_eq!(flow.status, 0x1a8);
            assert_eq!((name.id, name.zone), (Some(&[1, 2, 3, 4][..]), Some(&[0, 9][..])));
        });
    }
}

#[test]
fn rules_tell_the_stale_from_the_kept() {
    let mut rules = Rules::default();
    let served = [packed("10.96.0.10:53"), packed("10.96.0.11:53")];
    let endpoints = [packed("10.244.1.7:5300"), packed("10.244.1.8:5300")];
    rules.serve(served.iter().map(Vec::as_slice), endpoints.iter().map(Vec::as_slice)).unwrap();
    rules.serve([packed("10.96.0.12:53").as_slice()], []).unwrap();
    rules.gone([packed("10.96.0.13:53").as_slice(), packed("10.96.0.10:53").as_slice()]).unwrap();
    assert_eq!(rules.len(), 4);

    for (frontend, endpoint, stale) in [
        ("10.96.0.10:53", "10.244.1.7:5300", false), // serves still
        ("10.96.0.11:53", "10.244.1.8:5300", false), // for the other frontend too
        ("10.96.0.10:53", "10.244.1.9:5300", true),  // an endpoint that left
        ("10.96.0.10:53", "10.244.1.7:5301", true),  // the same address, another port
        ("10.96.0.10:53", "10.96.0.10:53", true),    // never translated: sent while nobody served
        ("10.96.0.10:54", "10.244.1.9:5300", false), // another port: not ours
        ("10.96.0.12:53", "10.244.1.7:5300", true),  // nobody serves
        ("10.96.0.13:53", "10.244.1.7:5300", true),  // no frontend any more, translated
        ("10.96.0.13:53", "10.96.0.13:53", false),   // no frontend any more, answers itself
    ] {
        shown("10.0.0.9:4711", frontend, endpoint, |shown| {
            assert_eq!(rules.is_stale(&shown.flow), stale, "{frontend} by {endpoint}");
        });
    }
}

#[test]
fn other_lengths_are_no_destination() {
    for length in [0, 1, 2, 5, 7, 17, 19] {
        assert!(destination(&vec![0; length]).is_err(), "{length}");
    }
}
