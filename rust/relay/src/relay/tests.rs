// SPDX-License-Identifier: Apache-2.0
//! A worker that panics is told of and takes nobody with it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Relay;
use crate::config::Config;
use crate::table::{Endpoint, Frontend, Protocol, Service};
use crate::worker::mailbox::Message;

/// A Service on every address of this host, with one endpoint.
fn service(port: u16, endpoint: &TcpListener) -> Service {
    let address = endpoint.local_addr().unwrap();
    Service {
        key: "shop/web".into(),
        frontends: vec![Frontend { name: "web".to_owned(), protocol: Protocol::Tcp, address: None, port }],
        all: vec![Endpoint { address, weight: 1, local: true }],
        ..Service::default()
    }
}

#[test]
fn a_worker_that_panics_is_told_of_and_the_others_serve_every_new_client() {
    let config = Config { workers: 2, transparent: false, mark: 0, ..Config::default() };
    let relay = Relay::start(config, None).unwrap();
    let endpoint = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    relay.apply(vec![service(relay.ports().all, &endpoint)], &[]);
    assert_eq!(relay.alive(), Ok(()));

    assert!(relay.shared.lanes[0].mailbox.send(Message::Panic).is_none());
    while relay.alive().is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }

    assert!(relay.alive().unwrap_err().contains("worker 0 of the relay panicked (told to)"));
    for _ in 0..20 {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.ports().all)).unwrap();
        client.write_all(b"hello").unwrap();
        let (mut served, _) = endpoint.accept().unwrap();
        let mut heard = [0; 5];
        served.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    }
    assert_eq!(relay.hand_over().sockets.len(), 4, "the sockets of the worker that is left");
}

#[test]
fn what_was_stopped_accepts_nobody() {
    let relay = Relay::start(Config { transparent: false, mark: 0, ..Config::default() }, None).unwrap();
    let port = relay.ports().all;
    relay.stop();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

#[test]
fn long_transfers_are_shared_out_among_the_workers() {
    let config = Config { workers: 2, transparent: false, mark: 0, ..Config::default() };
    let relay = Relay::start(config, None).unwrap();
    let endpoint = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    relay.apply(vec![service(relay.ports().all, &endpoint)], &[]);
    let bulk = |worker: usize| relay.shared.lanes[worker].bulk.load(Ordering::Relaxed);
    let said = vec![7; 3_000_000];

    let mut pairs = Vec::new();
    for number in 1..=8 {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.ports().all)).unwrap();
        let (mut served, _) = endpoint.accept().unwrap();
        let mut heard = vec![0; said.len()];
        std::thread::scope(|scope| {
            scope.spawn(|| client.write_all(&said).unwrap());
            served.read_exact(&mut heard).unwrap();
        });
        assert!(heard == said);
        // One that moves is counted by neither for a moment.
        while bulk(0) + bulk(1) != number {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(bulk(0).abs_diff(bulk(1)) <= 1, "{} and {}", bulk(0), bulk(1));
        pairs.push((client, served));
    }

    // Those that moved are as alive as the others, both ways, and end as well.
    for (client, served) in &mut pairs {
        served.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    }
    assert_eq!(relay.connections(), 8);
    drop(pairs);
    while relay.connections() != 0 || (bulk(0), bulk(1)) != (0, 0) {
        std::thread::sleep(Duration::from_millis(1));
    }
}
