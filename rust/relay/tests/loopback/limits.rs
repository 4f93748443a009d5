// SPDX-License-Identifier: Apache-2.0
//! How many, and how long in silence.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::time::Duration;

use relay::stats::Refusal;
use relay::{Config, Timeouts};

use crate::site::{config, endpoint, refusal, rest, until, with, Site};

#[test]
fn one_connection_too_many_is_refused_and_the_next_is_not_once_there_is_room() {
    let hold = endpoint(|mut stream| {
        stream.write_all(b"x").unwrap();
        let _ = rest(&mut stream);
    });
    let site = Site::start(Config { max_connections: 3, ..config() }, &[hold]);
    let mut clients: Vec<_> = (0..3).map(|_| site.dial()).collect();
    until("three are there", || site.relay.connections() == 3);

    assert_eq!(refusal(site.address()), ErrorKind::ConnectionReset);
    assert_eq!(site.relay.refusals()[Refusal::Full as usize], 1);

    clients.pop();
    until("one has left", || site.relay.connections() == 2);
    let next = site.dial();
    assert_eq!(next.peek(&mut [0]).unwrap(), 1);
}

#[test]
fn silence_after_the_last_word_of_one_side_ends_a_connection() {
    let mute = endpoint(|mut stream| {
        let _ = rest(&mut stream);
        std::thread::sleep(Duration::from_secs(3));
    });
    let timeouts = Timeouts { half_closed: Duration::from_millis(300), ..Timeouts::default() };
    let site = Site::start(with(timeouts), &[mute]);
    let mut client = site.dial();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client).1.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn silence_of_both_sides_ends_a_connection_only_where_that_is_asked_for() {
    let hold = endpoint(|mut stream| {
        let _ = rest(&mut stream);
    });
    let timeouts = Timeouts { tcp_idle: Some(Duration::from_millis(300)), ..Timeouts::default() };
    let (strict, lenient) = (Site::start(with(timeouts), &[hold]), Site::start(config(), &[hold]));
    let (mut cut, _kept) = (strict.dial(), lenient.dial());
    assert_eq!(rest(&mut cut).1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(lenient.relay.connections(), 1);
}
