// SPDX-License-Identifier: Apache-2.0
//! Whoever leaves is given time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use relay::Timeouts;

use crate::site::{config, endpoint, rest, until, with, Site};

/// An endpoint that answers each byte with itself.
fn echo() -> SocketAddr {
    endpoint(|mut stream| {
        let mut one = [0];
        while let Ok(1) = stream.read(&mut one) {
            stream.write_all(&one).unwrap();
        }
    })
}

fn ask(client: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_draining_relay_takes_nobody_new_and_lets_those_there_finish() {
    let site = Site::start(config(), &[echo()]);
    let mut client = site.dial();
    ask(&mut client);

    site.relay.drain(Duration::from_secs(60));
    until("new clients are refused", || TcpStream::connect(site.address()).is_err());

    ask(&mut client);
    until("only the first one is there", || site.relay.connections() == 1);
    drop(client);
    until("the last one has left", || site.relay.connections() == 0);
}

#[test]
fn who_stays_longer_than_a_draining_relay_waits_is_reset() {
    let site = Site::start(config(), &[echo()]);
    let mut client = site.dial();
    ask(&mut client);
    site.relay.drain(Duration::from_millis(200));
    assert_eq!(rest(&mut client).1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    until("nobody is left", || site.relay.connections() == 0);
}

#[test]
fn connections_to_an_endpoint_that_left_end_by_the_drain_timeout_and_others_do_not() {
    let (leaving, staying) = (echo(), echo());
    let timeouts = Timeouts { drain: Some(Duration::from_millis(300)), ..Timeouts::default() };
    let site = Site::start(with(timeouts), &[leaving, staying]);
    // In turn: each endpoint has two of them.
    let mut clients: Vec<_> = (0..4).map(|_| site.dial()).collect();
    clients.iter_mut().for_each(ask);

    site.set(&[staying]);

    until("those of the one that left are gone", || site.relay.connections() == 2);
    let answered = |client: &mut TcpStream| client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok();
    assert_eq!(clients.iter_mut().map(answered).filter(|&answered| answered).count(), 2);
}
