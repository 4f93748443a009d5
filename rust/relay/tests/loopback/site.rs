// SPDX-License-Identifier: Apache-2.0
//! A relay on plain ports of this host, and endpoints that do as they are told.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use relay::handover::Inherited;
use relay::table::{Endpoint, Frontend, Protocol, Service};
use relay::{Config, Relay, Timeouts};

/// More than anything here takes; a test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Reset a connection whose peer has sent something: the kernel does so when a socket is closed before all was read.
pub fn reset(stream: TcpStream) {
    assert_eq!(stream.peek(&mut [0]).unwrap(), 1, "a reset needs an unread byte");
    drop(stream);
}

/// A relay and its one Service.
pub struct Site {
    pub relay: Relay,
}

/// What tests start relays with.
pub fn config() -> Config {
    Config { workers: 2, transparent: false, mark: 0, ..Config::default() }
}

/// The same with other time-outs.
pub fn with(timeouts: Timeouts) -> Config {
    Config { timeouts, ..config() }
}

impl Site {
    /// A relay whose Service has these endpoints.
    pub fn start(config: Config, endpoints: &[SocketAddr]) -> Self {
        Self::relieve(config, None, endpoints)
    }

    /// One that takes another's sockets.
    pub fn relieve(config: Config, inherited: Option<Inherited>, endpoints: &[SocketAddr]) -> Self {
        let site = Self { relay: Relay::start(config, inherited).unwrap() };
        site.set(endpoints);
        site
    }

    /// Give the Service other endpoints.
    pub fn set(&self, endpoints: &[SocketAddr]) {
        self.change(endpoints, |_| ());
    }

    /// And other features.
    pub fn change(&self, endpoints: &[SocketAddr], feature: impl Fn(&mut Service)) {
        let port = self.relay.ports().all;
        let endpoint = |&address: &SocketAddr| Endpoint { address, weight: 1, local: true };
        let mut service = Service {
            key: "shop/web".into(),
            frontends: vec![Frontend { name: "web".to_owned(), protocol: Protocol::Tcp, address: None, port }],
            all: endpoints.iter().map(endpoint).collect(),
            ..Service::default()
        };
        feature(&mut service);
        self.relay.apply(vec![service], &[]);
    }

    /// Where its clients dial.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.relay.ports().all).into()
    }

    /// A client.
    pub fn dial(&self) -> TcpStream {
        dial(self.address())
    }
}

/// A client that does not wait for ever.
pub fn dial(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// An endpoint that deals with each connection in a thread of its own.
pub fn endpoint(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    endpoint_at(Ipv4Addr::LOCALHOST.into(), serve)
}

/// The same at another address of this host.
pub fn endpoint_at(address: IpAddr, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let bound = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            thread::spawn(move || serve(stream));
        }
    });
    bound
}

/// An address of this host where nobody listens.
pub fn nobody() -> SocketAddr {
    (Ipv4Addr::new(127, 99, 99, 99), 1).into()
}

/// What the peer still says until it ends, and how it ends.
pub fn rest(stream: &mut TcpStream) -> (Vec<u8>, std::io::Result<()>) {
    let mut heard = Vec::new();
    let mut buffer = vec![0; 65536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (heard, Ok(())),
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error) => return (heard, Err(error)),
        }
    }
}

/// How a client is refused. The reset may come before or after it sees itself connected.
pub fn refusal(address: SocketAddr) -> ErrorKind {
    match TcpStream::connect(address) {
        Ok(mut client) => client.read(&mut [0]).unwrap_err().kind(),
        Err(error) => error.kind(),
    }
}

/// Wait until something is so.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}
