// SPDX-License-Identifier: Apache-2.0
//! What is said arrives as it was said, whatever the pieces.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::site::{config, dial, endpoint, endpoint_at, until, Site};

/// Bytes that do not repeat at any size the relay works with: a piece lost, doubled or moved shows.
fn pattern() -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(1_048_573).collect()
}

fn say(stream: &mut TcpStream, pattern: &[u8], times: usize) {
    for _ in 0..times {
        stream.write_all(pattern).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn hear(stream: &mut TcpStream, pattern: &[u8], times: usize) {
    let mut heard = vec![0; pattern.len()];
    for _ in 0..times {
        stream.read_exact(&mut heard).unwrap();
        assert!(heard == pattern, "what arrived is not what was sent");
    }
    assert_eq!(stream.read(&mut heard).unwrap(), 0, "more arrived than was sent");
}

#[test]
fn a_large_stream_arrives_whole_both_ways_at_once() {
    const TIMES: usize = 1025; // more than 1 GiB each way
    let both = endpoint(|mut stream| {
        let mut other = stream.try_clone().unwrap();
        let speaker = thread::spawn(move || say(&mut other, &pattern(), TIMES));
        hear(&mut stream, &pattern(), TIMES);
        speaker.join().unwrap();
    });
    let site = Site::start(config(), &[both]);
    let mut client = site.dial();
    let mut other = client.try_clone().unwrap();

    let speaker = thread::spawn(move || say(&mut other, &pattern(), TIMES));
    hear(&mut client, &pattern(), TIMES);
    speaker.join().unwrap();

    until("pipes are given back", || site.relay.pipes() == 0);
}

#[test]
fn single_bytes_arrive_one_by_one() {
    let echo = endpoint(|mut stream| {
        stream.set_nodelay(true).unwrap();
        let mut one = [0];
        while stream.read(&mut one).unwrap() == 1 {
            stream.write_all(&one).unwrap();
        }
    });
    let site = Site::start(config(), &[echo]);
    let mut client = site.dial();
    client.set_nodelay(true).unwrap();
    for number in 0..2000_u32 {
        let said = [number.to_le_bytes()[0]];
        client.write_all(&said).unwrap();
        let mut heard = [0];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(heard, said);
    }
}

#[test]
fn many_single_bytes_at_once_arrive_in_order() {
    let pattern = pattern()[..20_000].to_vec();
    let expected = pattern.clone();
    let (told, heard) = std::sync::mpsc::channel();
    let sink = endpoint(move |mut stream| {
        hear(&mut stream, &expected, 1);
        told.send(()).unwrap();
    });
    let site = Site::start(config(), &[sink]);
    let mut client = site.dial();
    client.set_nodelay(true).unwrap();
    for byte in &pattern {
        client.write_all(std::slice::from_ref(byte)).unwrap();
    }
    client.shutdown(Shutdown::Write).unwrap();
    heard.recv().unwrap();
}

#[test]
fn the_other_family_is_served_by_the_same_port() {
    let echo = endpoint_at(Ipv6Addr::LOCALHOST.into(), |mut stream| {
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).unwrap();
        stream.write_all(&heard).unwrap();
    });
    let site = Site::start(config(), &[echo]);
    let mut client = dial(SocketAddr::from((Ipv6Addr::LOCALHOST, site.relay.ports().all)));
    client.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
}

#[test]
fn a_reader_that_is_stuck_stops_its_writer_within_bounds() {
    let over = Arc::new(AtomicBool::new(false));
    let patient = Arc::clone(&over);
    let stuck = endpoint(move |_stream| {
        while !patient.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let site = Site::start(config(), &[stuck]);
    let mut client = site.dial();
    client.set_nonblocking(true).unwrap();
    let taken = AtomicUsize::new(0);
    let piece = vec![0; 65536];
    let mut silent = 0;
    // Nothing taken for a third of a second: the writer is stopped.
    while silent < 30 {
        if let Ok(count) = client.write(&piece) {
            silent = 0;
            assert!(taken.fetch_add(count, Ordering::Relaxed) < 32 * 1024 * 1024, "more than 32 MiB were taken");
        } else {
            silent += 1;
            thread::sleep(Duration::from_millis(10));
        }
    }
    assert!(site.relay.pipes() <= 1);
    over.store(true, Ordering::Relaxed);
}
