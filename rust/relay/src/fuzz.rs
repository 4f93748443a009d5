// SPDX-License-Identifier: Apache-2.0
//! Every reader of bytes from outside, fed with spoilt ones: it may refuse them, it may not panic, nor believe too much.
//!
//! `RELAY_FUZZ_SECONDS` is how long each reader is fed; without it, a moment. What fails is told as bytes, to be kept as an
//! example beside the reader.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

use crate::handover::{self, Inherited};
use crate::proxy_protocol;
use crate::sys::address::Raw;
use crate::sys::rights;
use crate::table::{Endpoint, Frontend, Method, Protocol, Service};
use crate::udp::control;
use crate::udp::runs::{join, Message};
use crate::{Config, Relay};

mod mutate;

use mutate::{spoilt, Chance};

/// Feed a reader for as long as is asked for.
fn feed(name: &str, examples: &[Vec<u8>], mut reader: impl FnMut(&[u8])) {
    let seconds = std::env::var("RELAY_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0.2);
    let (begun, budget) = (Instant::now(), Duration::from_secs_f64(seconds));
    let (mut chance, mut inputs) = (Chance(seconds.to_bits()), 0_u64);
    while begun.elapsed() < budget {
        for _ in 0..64 {
            let input = spoilt(examples, &mut chance);
            inputs += 1;
            let read = catch_unwind(AssertUnwindSafe(|| reader(&input)));
            assert!(read.is_ok(), "{name} fails on {input:02x?}");
        }
    }
    println!("fuzzed {name}: {inputs} inputs in {:.1} s", begun.elapsed().as_secs_f64());
}

fn addresses() -> [SocketAddr; 4] {
    ["192.0.2.1:4660", "10.96.0.10:53", "[2001:db8::1]:4660", "[fd00::10]:53"].map(|text| text.parse().unwrap())
}

#[test]
fn proxy_protocol_headers() {
    let [one, two, three, four] = addresses();
    let examples = [proxy_protocol::header(one, two), proxy_protocol::header(three, four)];
    feed("the PROXY protocol", &examples, |bytes| {
        let Some(header) = proxy_protocol::understand(bytes) else { return };
        assert!(header.length <= bytes.len());
        let again = proxy_protocol::header(header.client, header.dialled);
        assert_eq!(again[16..], bytes[16..again.len()]);
    });
}

/// A control message, as the kernel writes it.
fn told(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let length = size_of::<usize>() + 8 + data.len();
    let mut bytes = [&length.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), data].concat();
    bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0);
    bytes
}

#[test]
fn control_messages_and_original_destinations() {
    let four = [&(libc::AF_INET as u16).to_ne_bytes()[..], &[0, 53, 10, 96, 0, 10], &[0; 8]].concat();
    let six = [&(libc::AF_INET6 as u16).to_ne_bytes()[..], &[0, 53, 0, 0, 0, 0], &[0xfd; 16], &[0; 4]].concat();
    let four = told(libc::SOL_IP, libc::IP_ORIGDSTADDR, &four);
    let six = told(libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR, &six);
    let size = told(libc::SOL_UDP, libc::UDP_GRO, &1200_i32.to_ne_bytes());
    let examples = [four.clone(), six.clone(), [size.clone(), four].concat(), [six, size].concat()];
    feed("control messages", &examples, |bytes| {
        let read = control::understand(bytes);
        assert_ne!(read.segment, Some(0));
        assert!(read.dialled.is_none_or(|address| address.ip() == address.ip().to_canonical()));
    });
}

#[test]
fn addresses_of_the_kernel() {
    let examples = addresses().map(|address| {
        let raw = Raw::plain(address);
        let storage = raw.storage;
        let [family, port] = [storage.sin6_family.to_ne_bytes(), storage.sin6_port.to_ne_bytes()];
        [&family[..], &port, &storage.sin6_flowinfo.to_ne_bytes(), &storage.sin6_addr.s6_addr, &[0; 4]].concat()
    });
    feed("addresses", &examples, |bytes| {
        let mut whole = [0; 28];
        whole.iter_mut().zip(bytes).for_each(|(byte, given)| *byte = *given);
        let mut raw = Raw::empty();
        raw.storage.sin6_family = u16::from_ne_bytes([whole[0], whole[1]]);
        raw.storage.sin6_port = u16::from_ne_bytes([whole[2], whole[3]]);
        raw.storage.sin6_flowinfo = u32::from_ne_bytes([whole[4], whole[5], whole[6], whole[7]]);
        raw.storage.sin6_addr.s6_addr.copy_from_slice(&whole[8..24]);
        if let Some(address) = raw.read() {
            assert_eq!(Raw::plain(address).read(), Some(address));
            assert_eq!(Raw::mapped(address).read(), Some(address));
        }
    });
}

#[test]
fn batches_of_datagrams() {
    let examples = [vec![64; 32], vec![0, 4, 176, 1, 4, 176, 0, 0, 16], vec![255; 30], vec![2, 3, 232, 3, 3, 232]];
    feed("batches", &examples, |bytes| {
        let message = |triple: &[u8]| {
            let size = u16::from_be_bytes([triple[1], triple[2]]);
            let pieces = usize::from(triple[0] % 70);
            let length = if pieces == 0 { size.into() } else { (usize::from(size) * pieces).min(65_535) };
            Message { length, segment: (pieces > 0 && size > 0).then_some(size) }
        };
        let messages: Vec<Message> = bytes.chunks_exact(3).take(64).map(message).collect();
        let mut next = 0;
        for run in join(&messages) {
            assert_eq!(run.messages.start, next);
            assert!(run.messages.end > next);
            next = run.messages.end;
            let inside = &messages[run.messages];
            let bytes: usize = inside.iter().map(|message| message.length).sum();
            assert!(inside.len() == 1 || bytes <= 60_000);
            assert!(inside.len() == 1 || run.segment > 0);
        }
        assert_eq!(next, messages.len());
    });
}

#[test]
fn messages_of_a_hand_over() {
    let examples = [b"kprelay\x01\0\0\0\x01\x01\0\x01\x01".to_vec(), b"kprelay\x01".to_vec(), b"kprelay\x02\0\0".to_vec()];
    let (one, other) = UnixDatagram::pair().unwrap();
    let descriptor = one.as_raw_fd();
    feed("the hand-over", &examples, |bytes| {
        let understood = handover::understand(bytes).map(|sockets| sockets.len());
        // The same by the way it comes, with too few descriptors or too many.
        let number = bytes.last().map_or(0, |&last| usize::from(last) % 6);
        if !bytes.is_empty() && rights::send(&one, bytes, &vec![descriptor; number]).is_ok() {
            let received = Inherited::receive(&other);
            assert!(received.is_err() || understood == Ok(number));
        }
    });
}

#[test]
fn datagrams_of_clients_and_endpoints() {
    let endpoint = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    endpoint.set_nonblocking(true).unwrap();
    let config = Config { workers: 1, transparent: false, mark: 0, ..Config::default() };
    let relay = Relay::start(config, None).unwrap();
    let (port, address) = (relay.ports().all, endpoint.local_addr().unwrap());
    let service = Service {
        key: "shop/dns".into(),
        seed: 0,
        frontends: vec![Frontend { name: "dns".to_owned(), protocol: Protocol::Udp, address: None, port }],
        all: vec![Endpoint { address, weight: 1, local: true }],
        local: Vec::new(),
        method: Method::RoundRobin,
        affinity: Duration::ZERO,
        proxy_protocol: false,
        keep_source: false,
    };
    relay.apply(vec![service], &[]);
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 65_536];
    feed("datagrams", &[vec![1; 64], vec![2; 200], Vec::new()], |bytes| {
        // What is full or refused is lost: only the relay's life is at stake.
        for part in bytes.chunks(usize::from(bytes.first().copied().unwrap_or(1)).max(1)) {
            let _ = client.send(part);
        }
        let _ = client.send(bytes);
        while let Ok((count, from)) = endpoint.recv_from(&mut buffer) {
            let _ = endpoint.send_to(&buffer[..count], from);
        }
        while client.recv(&mut buffer).is_ok() {}
        assert_eq!(relay.alive(), Ok(()));
    });
}
