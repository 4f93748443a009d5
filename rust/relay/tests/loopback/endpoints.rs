// SPDX-License-Identifier: Apache-2.0
//! Who is dialled: endpoints that answer, each at most once for one client, and those of the table in force.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use relay::table::{Endpoint, Frontend};
use relay::Timeouts;

use crate::site::{config, dial, endpoint, nobody, refusal, rest, until, with, Site};

/// An endpoint that says its name.
fn named(name: &'static str) -> SocketAddr {
    endpoint(move |mut stream| {
        stream.write_all(name.as_bytes()).unwrap();
        // Hold the connection until the client leaves.
        let _ = rest(&mut stream);
    })
}

fn name_heard(client: &mut TcpStream) -> String {
    let mut heard = [0; 3];
    client.read_exact(&mut heard).unwrap();
    String::from_utf8_lossy(&heard).into_owned()
}

/// An endpoint whose queue is full: nobody answers there. The connections keep it full. Its port is none that the kernel
/// hands out: what dials it after it is gone must not find another test's relay there.
fn silent() -> (TcpListener, Vec<TcpStream>) {
    static MADE: AtomicU8 = AtomicU8::new(1);
    let [low, high, ..] = std::process::id().to_le_bytes();
    let own = Ipv4Addr::new(127, high | 128, low, MADE.fetch_add(1, Ordering::Relaxed));
    let listener = TcpListener::bind((own, 7)).unwrap();
    let address = listener.local_addr().unwrap();
    let waiting = std::iter::repeat_with(|| TcpStream::connect_timeout(&address, Duration::from_millis(100)));
    let waiting: Vec<TcpStream> = waiting.map_while(Result::ok).collect();
    (listener, waiting)
}

#[test]
fn one_of_two_endpoints_refusing_is_no_clients_concern() {
    let served = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&served);
    let good = endpoint(move |mut stream| {
        counter.fetch_add(1, Ordering::Relaxed);
        stream.write_all(b"one").unwrap();
    });
    let site = Site::start(config(), &[nobody(), good]);
    for _ in 0..300 {
        assert_eq!(name_heard(&mut site.dial()), "one");
    }
    assert_eq!(served.load(Ordering::Relaxed), 300);
}

#[test]
fn an_endpoint_that_does_not_answer_in_time_is_left_for_another() {
    let (listener, _waiting) = silent();
    let quiet = listener.local_addr().unwrap();
    let timeouts = Timeouts { attempt: Duration::from_millis(200), ..Timeouts::default() };
    let site = Site::start(with(timeouts), &[quiet, named("one")]);
    for _ in 0..4 {
        assert_eq!(name_heard(&mut site.dial()), "one");
    }
}

#[test]
fn an_endpoint_that_dies_while_it_is_dialled_is_left_for_another() {
    let (listener, waiting) = silent();
    let quiet = listener.local_addr().unwrap();
    let site = Site::start(config(), &[quiet]);
    let mut client = site.dial();
    while site.relay.connections() == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }

    // The table changes while the dial waits: what is tried next is what is there then.
    site.set(&[named("two")]);
    drop((listener, waiting));

    assert_eq!(name_heard(&mut client), "two");
}

#[test]
fn a_client_is_refused_at_once_when_all_endpoints_refuse() {
    let site = Site::start(config(), &[nobody(), (Ipv4Addr::new(127, 99, 99, 98), 1).into()]);
    assert_eq!(refusal(site.address()), ErrorKind::ConnectionReset);
    until("it is forgotten", || site.relay.connections() == 0);
}

#[test]
fn a_client_is_refused_where_there_is_no_service_or_no_endpoint() {
    let site = Site::start(config(), &[]);
    for port in [site.relay.ports().all, site.relay.ports().local] {
        assert_eq!(refusal((Ipv4Addr::LOCALHOST, port).into()), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_changed_service_serves_new_clients_anew_and_leaves_the_others_alone() {
    let site = Site::start(config(), &[named("one")]);
    let mut before = site.dial();
    assert_eq!(name_heard(&mut before), "one");

    site.set(&[named("two")]);

    assert_eq!(name_heard(&mut site.dial()), "two");
    before.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let undisturbed = before.read(&mut [0]).unwrap_err();
    assert!(matches!(undisturbed.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{undisturbed}");
    before.write_all(b"still here").unwrap();

    site.relay.apply(Vec::new(), &["shop/web".to_owned()]);

    assert_eq!(refusal(site.address()), ErrorKind::ConnectionReset);
    before.write_all(b"still here").unwrap();
    assert_eq!(site.relay.connections(), 1);
}

#[test]
fn clients_at_the_local_port_get_local_endpoints_only() {
    let (all, local) = (named("all"), named("own"));
    let site = Site::start(config(), &[all]);
    let port = site.relay.ports().local;
    site.change(&[all], |service| {
        service.frontends.push(Frontend { port, ..service.frontends[0].clone() });
        service.local = vec![Endpoint { address: local, ..service.all[0] }];
    });
    for _ in 0..4 {
        assert_eq!(name_heard(&mut site.dial()), "all");
        assert_eq!(name_heard(&mut dial((Ipv4Addr::LOCALHOST, port).into())), "own");
    }
}
