// SPDX-License-Identifier: Apache-2.0
//! Connections that are silent cost two descriptors and nothing else. In a process of its own: it counts descriptors.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use relay::table::{Endpoint, Frontend, Protocol, Service};
use relay::{Config, Relay};

const CONNECTIONS: usize = 2000;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn silent_connections_own_two_descriptors_and_no_pipe() {
    let relay = Relay::start(Config { transparent: false, mark: 0, ..Config::default() }, None).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let port = relay.ports().all;
    let service = Service {
        key: "shop/web".into(),
        frontends: vec![Frontend { name: "web".to_owned(), protocol: Protocol::Tcp, address: None, port }],
        all: vec![Endpoint { address, weight: 1, local: true }],
        ..Service::default()
    };
    relay.apply(vec![service], &[]);
    let before = descriptors();
    let mut pairs = Vec::new();
    for number in 0..CONNECTIONS {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (mut endpoint, _) = listener.accept().unwrap();
        // Some have been through a pipe before they fell silent.
        let size = if number % 100 == 0 { 2_000_000 } else { 100 };
        let said = vec![1; size];
        let mut heard = vec![0; size];
        std::thread::scope(|scope| {
            scope.spawn(|| client.write_all(&said).unwrap());
            endpoint.read_exact(&mut heard).unwrap();
        });
        assert!(said == heard);
        pairs.push((client, endpoint));
    }

    assert_eq!(relay.connections(), CONNECTIONS);
    while relay.pipes() != 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    // Half of the new descriptors are the test's own ends. A few idle pipes, in a pool that every connection uses in turn.
    let own = descriptors() - before - 2 * CONNECTIONS;
    assert!((2 * CONNECTIONS..=2 * CONNECTIONS + 8).contains(&own), "{own} descriptors for {CONNECTIONS} connections");
}
