// SPDX-License-Identifier: Apache-2.0
//! A process without descriptors turns clients away, clearly, and serves again when there are some. In a process of its
//! own, which starts itself once more under a limit.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use relay::table::{Endpoint, Frontend, Protocol, Service};
use relay::{Config, Relay};

const LIMITED: &str = "RELAY_TEST_LIMITED";

#[test]
fn without_descriptors_clients_are_reset_and_with_some_they_are_served() {
    if std::env::var_os(LIMITED).is_some() {
        return limited();
    }
    let own = std::env::current_exe().unwrap();
    let shell =
        Command::new("sh").args(["-c", "ulimit -n 100; exec \"$0\" --nocapture"]).arg(own).env(LIMITED, "1").status();
    assert!(shell.unwrap().success());
}

fn limited() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let relay = Relay::start(Config { workers: 1, transparent: false, mark: 0, ..Config::default() }, None).unwrap();
    let port = relay.ports().all;
    let service = Service {
        key: "shop/web".into(),
        frontends: vec![Frontend { name: "web".to_owned(), protocol: Protocol::Tcp, address: None, port }],
        all: vec![Endpoint { address, weight: 1, local: true }],
        ..Service::default()
    };
    relay.apply(vec![service], &[]);
    // This client's descriptor, one for the relay to accept with, none to dial with.
    let mut held: Vec<File> = std::iter::repeat_with(|| File::open("/dev/null")).map_while(Result::ok).collect();

    for free in [1, 2] {
        held.truncate(held.len() - free);
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "with {free} descriptors: {error}");
        drop(client);
        held.extend(std::iter::repeat_with(|| File::open("/dev/null")).map_while(Result::ok));
    }

    held.clear();
    datagrams(&relay, &mut held);
    held.clear();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.write_all(b"hello").unwrap();
    let (mut endpoint, _) = listener.accept().unwrap();
    let mut heard = [0; 5];
    endpoint.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
}

/// A client's first datagram takes a descriptor: where there is none, that of another client's flow.
fn datagrams(relay: &Relay, held: &mut Vec<File>) {
    let endpoint = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = relay.ports().all;
    let service = Service {
        key: "shop/dns".into(),
        frontends: vec![Frontend { name: "dns".to_owned(), protocol: Protocol::Udp, address: None, port }],
        all: vec![Endpoint { address: endpoint.local_addr().unwrap(), weight: 1, local: true }],
        ..Service::default()
    };
    relay.apply(vec![service], &[]);
    let clients: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    for socket in clients.iter().chain([&endpoint]) {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    for (number, client) in clients.iter().enumerate() {
        client.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        client.send(b"hello").unwrap();
        let (_, flow) = endpoint.recv_from(&mut [0; 8]).unwrap();
        endpoint.send_to(b"hello", flow).unwrap();
        assert_eq!(client.recv(&mut [0; 8]).unwrap(), 5, "client {number}");
        held.extend(std::iter::repeat_with(|| File::open("/dev/null")).map_while(Result::ok));
    }
    let active: u64 =
        relay.stats().endpoints.iter().filter(|count| count.service == "shop/dns").map(|count| count.active).sum();
    assert_eq!(active, 1);
}
