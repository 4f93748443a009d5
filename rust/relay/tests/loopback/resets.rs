// SPDX-License-Identifier: Apache-2.0
//! A connection that breaks on one side breaks on the other, after everything that was said before.

use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc::channel;

use crate::site::{config, endpoint, reset, rest, until, Site};

fn much() -> Vec<u8> {
    vec![1; 100_000]
}

#[test]
fn an_endpoints_reset_arrives_as_one_after_its_last_words() {
    let rude = endpoint(|mut stream| {
        stream.write_all(b"last words").unwrap();
        // The client's answer stays unread.
        stream.peek(&mut [0]).unwrap();
        reset(stream);
    });
    let site = Site::start(config(), &[rude]);
    let mut client = site.dial();
    let mut heard = [0; 10];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"last words");
    client.write_all(b"what?").unwrap();
    let (more, end) = rest(&mut client);
    assert_eq!(more, b"");
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    until("the connection is forgotten", || site.relay.connections() == 0);
}

#[test]
fn a_clients_reset_arrives_as_one_after_its_last_words() {
    let (told, heard) = channel();
    let server = endpoint(move |mut stream| {
        let mut first = [0; 5];
        stream.read_exact(&mut first).unwrap();
        stream.write_all(b"x").unwrap();
        told.send(rest(&mut stream)).unwrap();
    });
    let site = Site::start(config(), &[server]);
    let mut client = site.dial();
    client.write_all(b"first").unwrap();
    client.peek(&mut [0]).unwrap();
    client.write_all(b"last words").unwrap();
    reset(client);
    let (words, end) = heard.recv().unwrap();
    assert_eq!(words, b"last words");
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    until("the connection is forgotten", || site.relay.connections() == 0);
}

#[test]
fn a_reset_in_the_midst_of_much_arrives_and_leaves_no_pipe() {
    let rude = endpoint(|mut stream| {
        let mut buffer = vec![0; 4_000_000];
        stream.read_exact(&mut buffer).unwrap();
        reset(stream);
    });
    let site = Site::start(config(), &[rude]);
    let mut client = site.dial();
    let error = std::iter::repeat_with(|| client.write_all(&much())).find_map(Result::err).unwrap();
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    until("the connection is forgotten", || site.relay.connections() == 0);
    until("its pipe is given back", || site.relay.pipes() == 0);
}

#[test]
fn a_client_that_leaves_while_its_endpoint_speaks_resets_it() {
    let (told, heard) = channel();
    let talker = endpoint(move |mut stream| {
        let error = std::iter::repeat_with(|| stream.write_all(&much())).find_map(Result::err).unwrap();
        told.send(error.kind()).unwrap();
    });
    let site = Site::start(config(), &[talker]);
    let mut client = site.dial();
    client.read_exact(&mut [0; 1000]).unwrap();
    reset(client);
    assert!(matches!(heard.recv().unwrap(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
    until("the connection is forgotten", || site.relay.connections() == 0);
    until("its pipe is given back", || site.relay.pipes() == 0);
}
