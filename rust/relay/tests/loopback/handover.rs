// SPDX-License-Identifier: Apache-2.0
//! One relay relieves another while clients dial: none is refused, none is lost.

use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use relay::handover::Inherited;

use crate::site::{config, dial, endpoint, rest, until, Site, PATIENCE};

#[test]
fn clients_do_not_notice_that_relays_relieve_each_other() {
    let echo = endpoint(|mut stream| {
        let mut heard = [0; 5];
        while stream.read_exact(&mut heard).is_ok() {
            stream.write_all(&heard).unwrap();
        }
    });
    let mut site = Site::start(config(), &[echo]);
    let address = site.address();
    let mut old_client = site.dial();
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (over, served) = (Arc::clone(&over), Arc::clone(&served));
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut client = dial(address);
                    client.write_all(b"hello").unwrap();
                    client.read_exact(&mut [0; 5]).unwrap();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();

    let mut relieved = Vec::new();
    for number in 1..=8 {
        until("clients are served", || served.load(Ordering::Relaxed) > number * 50);
        let (here, there) = UnixDatagram::pair().unwrap();
        site.relay.hand_over().send(&here).unwrap();
        let next = Site::relieve(config(), Some(Inherited::receive(&there).unwrap()), &[echo]);
        assert_eq!(next.address(), address);
        site.relay.drain(Duration::from_secs(60));
        relieved.push(std::mem::replace(&mut site, next));
    }
    until("clients are served", || served.load(Ordering::Relaxed) > 500);
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }

    // The first relay still has the client that came first, and nothing else.
    old_client.write_all(b"hello").unwrap();
    old_client.read_exact(&mut [0; 5]).unwrap();
    until("the first relay keeps its client", || relieved[0].relay.connections() == 1);
    drop(old_client);
    for old in relieved {
        until("a relieved relay finishes", || old.relay.connections() == 0);
    }
}

#[test]
fn a_relay_with_fewer_workers_reads_every_socket_it_inherits() {
    let echo = endpoint(|mut stream| stream.write_all(b"x").unwrap());
    let old = Site::start(relay::Config { workers: 4, ..config() }, &[echo]);
    let sockets = old.relay.hand_over();
    assert_eq!(sockets.sockets.len(), 16, "two protocols, two scopes, four workers");
    let new = Site::relieve(relay::Config { workers: 1, ..config() }, Some(sockets), &[echo]);
    // It may still serve who came before it heard that it is relieved.
    old.relay.drain(PATIENCE);
    for _ in 0..40 {
        assert_eq!(rest(&mut new.dial()).0, b"x");
    }
}
