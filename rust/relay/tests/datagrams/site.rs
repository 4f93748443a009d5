// SPDX-License-Identifier: Apache-2.0
//! A relay on plain ports of this host, endpoints that answer with their name, and clients that ask.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use relay::stats::Count;
use relay::table::{Endpoint, Frontend, Method, Protocol, Service};
use relay::{Config, Relay, Timeouts};

/// More than anything here takes; a test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Site {
    pub relay: Relay,
}

/// What tests start relays with.
pub fn config() -> Config {
    Config { workers: 2, transparent: false, mark: 0, ..Config::default() }
}

/// The same with flows that end after a short silence.
pub fn hasty() -> Config {
    Config { timeouts: Timeouts { udp_idle: Duration::from_millis(300), ..Timeouts::default() }, ..config() }
}

impl Site {
    /// A relay whose Service has these endpoints.
    pub fn start(config: Config, endpoints: &[SocketAddr]) -> Self {
        let site = Self { relay: Relay::start(config, None).unwrap() };
        site.set(endpoints);
        site
    }

    /// Give the Service other endpoints.
    pub fn set(&self, endpoints: &[SocketAddr]) {
        self.relay.apply(vec![self.service(endpoints)], &[]);
    }

    /// The Service with these endpoints.
    pub fn service(&self, endpoints: &[SocketAddr]) -> Service {
        let port = self.relay.ports().all;
        let endpoint = |&address: &SocketAddr| Endpoint { address, weight: 1, local: true };
        Service {
            key: "shop/dns".into(),
            seed: 0,
            frontends: vec![Frontend { name: "dns".to_owned(), protocol: Protocol::Udp, address: None, port }],
            all: endpoints.iter().map(endpoint).collect(),
            local: Vec::new(),
            method: Method::RoundRobin,
            affinity: Duration::ZERO,
            proxy_protocol: false,
            keep_source: false,
        }
    }

    /// A client that hears only what comes from the address it dials.
    pub fn dial(&self, address: impl Into<IpAddr>) -> UdpSocket {
        let address = address.into();
        let any: IpAddr = if address.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        let client = UdpSocket::bind((any, 0)).unwrap();
        client.connect((address, self.relay.ports().all)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// The same on the usual address.
    pub fn client(&self) -> UdpSocket {
        self.dial(Ipv4Addr::LOCALHOST)
    }

    /// What the Service's frontend counted.
    pub fn count(&self) -> Count {
        self.relay.stats().frontends.swap_remove(0)
    }
}

/// Ask, and hear the answer.
pub fn ask(client: &UdpSocket, question: &[u8]) -> io::Result<Vec<u8>> {
    client.send(question)?;
    hear(client)
}

/// Hear one datagram.
pub fn hear(client: &UdpSocket) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 65_536];
    let count = client.recv(&mut buffer)?;
    buffer.truncate(count);
    Ok(buffer)
}

/// Who answers a client.
pub fn who(client: &UdpSocket) -> SocketAddr {
    String::from_utf8(ask(client, b"who").unwrap()).unwrap().parse().unwrap()
}

/// An endpoint that answers `who` with its address, and everything else with itself.
pub fn endpoint(address: impl Into<IpAddr>) -> SocketAddr {
    let socket = UdpSocket::bind((address.into(), 0)).unwrap();
    let own = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let answer = if &buffer[..count] == b"who" { own.to_string().into_bytes() } else { buffer[..count].to_vec() };
            let _ = socket.send_to(&answer, from);
        }
    });
    own
}

/// An address of this host where nobody listens.
pub fn nobody() -> SocketAddr {
    (Ipv4Addr::new(127, 99, 99, 99), 1).into()
}

/// Wait until something is so.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}
