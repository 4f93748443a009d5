// SPDX-License-Identifier: Apache-2.0
//! A side that has said its last word still hears the other one.

use std::io::Write;
use std::net::Shutdown;
use std::sync::mpsc::channel;

use crate::site::{config, endpoint, rest, Site};

const TIMES: usize = 500;

#[test]
fn a_client_that_finishes_first_hears_the_whole_answer_every_time() {
    let echo = endpoint(|mut stream| {
        let (heard, end) = rest(&mut stream);
        end.unwrap();
        stream.write_all(&heard).unwrap();
    });
    let site = Site::start(config(), &[echo]);

    for number in 0..TIMES {
        let mut client = site.dial();
        let said = format!("request {number}");
        client.write_all(said.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (heard, end) = rest(&mut client);
        end.unwrap();
        assert_eq!(heard, said.as_bytes());
    }
}

#[test]
fn an_endpoint_that_finishes_first_hears_everything_the_client_says_every_time() {
    let (heard, told) = channel();
    let early = endpoint(move |mut stream| {
        stream.write_all(b"that is all").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let (said, end) = rest(&mut stream);
        end.unwrap();
        heard.send(said.len()).unwrap();
    });
    let site = Site::start(config(), &[early]);

    for number in 0..TIMES {
        let mut client = site.dial();
        let (heard, end) = rest(&mut client);
        end.unwrap();
        assert_eq!(heard, b"that is all");
        // Every fiftieth says enough to be spliced.
        let bytes = if number % 50 == 0 { 1_000_000 } else { 100 };
        client.write_all(&vec![7; bytes]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(told.recv().unwrap(), bytes);
    }
}

#[test]
fn a_client_that_says_nothing_and_finishes_hears_the_answer() {
    let greeting = endpoint(|mut stream| {
        let (said, end) = rest(&mut stream);
        end.unwrap();
        assert!(said.is_empty());
        stream.write_all(b"hello").unwrap();
    });
    let site = Site::start(config(), &[greeting]);
    let mut client = site.dial();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client).0, b"hello");
}
