// SPDX-License-Identifier: Apache-2.0
//! A relay on a plain port: what is measured beside other relays, which know no interception.
//!
//!     bound PORT ENDPOINT...     for example: bound 8000 10.0.0.1:80 10.0.0.2:80
//!
//! `RELAY_WORKERS` sets the number of threads, `RELAY_STEERED=0` lets the kernel hand clients to any of them.

use std::net::SocketAddr;
use std::time::Duration;

use relay::table::{Endpoint, Frontend, Protocol, Service};
use relay::{Config, Ports, Relay};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().and_then(|port| port.parse().ok()).expect("usage: bound PORT ENDPOINT...");
    let addresses = arguments.map(|address| address.parse().expect("an endpoint is ADDRESS:PORT"));
    let endpoint = |address: SocketAddr| Endpoint { address, weight: 1, local: false };
    let service = Service {
        key: "bound".into(),
        frontends: [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| Frontend { name: format!("{protocol:?}"), protocol, address: None, port })
            .to_vec(),
        all: addresses.map(endpoint).collect(),
        ..Service::default()
    };
    let setting = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<usize>().ok());
    let config = Config {
        workers: setting("RELAY_WORKERS").unwrap_or(0),
        steered: setting("RELAY_STEERED") != Some(0),
        ports: Ports { all: port, local: 0 },
        transparent: false,
        mark: 0,
        ..Config::default()
    };
    let relay = Relay::start(config, None).expect("the relay did not start");
    relay.apply(vec![service], &[]);
    println!("relaying on port {port}");
    while relay.alive().is_ok() {
        std::thread::sleep(Duration::from_secs(1));
    }
    relay.alive().expect("a worker died");
}
