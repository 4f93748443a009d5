// SPDX-License-Identifier: Apache-2.0
//! A worker that panics is told of and takes nobody with it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use super::Relay;
use crate::config::Config;
use crate::table::{Endpoint, Frontend, Protocol, Service};
use crate::worker::mailbox::Message;

/// A Service on every address of this host, with one endpoint.
fn service(port: u16, endpoint: &TcpListener) -> Service {
    let address = endpoint.local_addr().unwrap();
    Service {
        key: "shop/web".to_owned(),
        frontends: vec![Frontend { name: "web".to_owned(), protocol: Protocol::Tcp, address: None, port }],
        all: vec![Endpoint { key: "one".to_owned(), address, weight: 1, local: true }],
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

    relay.mailboxes[0].send(Message::Panic);
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
