// SPDX-License-Identifier: Apache-2.0
//! Datagrams kept in flight, and their echo: the load of the UDP benches.
//!
//! `datagrams echo ADDRESS:PORT...` sends back whatever comes, from the address it was sent to. `datagrams load ADDRESS:PORT FLOWS IN_FLIGHT SIZE SECONDS` keeps
//! that many datagrams under way on every flow (an answer that comes is followed by the next question) and prints the
//! round trips, the datagrams given up for lost, and the seconds it took.

use std::env;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// An answer that takes longer is given up for lost.
const PATIENCE: Duration = Duration::from_millis(500);
const LARGEST: usize = 65_536;

fn echo(address: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    let mut datagram = vec![0; LARGEST];
    loop {
        match socket.recv_from(&mut datagram) {
            Ok((length, client)) => {
                // A client that is gone is no reason to end.
                let _ = socket.send_to(&datagram[..length], client);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
}

/// Keeps one flow busy until `end`; returns the round trips and the losses.
fn flow(server: SocketAddr, in_flight: u64, size: usize, end: Instant) -> io::Result<(u64, u64)> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let question = vec![0; size];
    let mut answer = vec![0; LARGEST];
    let (mut trips, mut lost) = (0, 0);
    for _ in 0..in_flight {
        socket.send(&question)?;
    }
    while Instant::now() < end {
        match socket.recv(&mut answer) {
            Ok(_) => {
                trips += 1;
                socket.send(&question)?;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                lost += in_flight;
                for _ in 0..in_flight {
                    socket.send(&question)?;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok((trips, lost))
}

fn echo_at(addresses: &[&str]) -> io::Result<()> {
    let parsed: Result<Vec<SocketAddr>, _> = addresses.iter().map(|address| address.parse()).collect();
    let threads: Vec<_> =
        parsed.map_err(io::Error::other)?.into_iter().map(|address| thread::spawn(move || echo(address))).collect();
    threads.into_iter().try_for_each(joined)
}

fn joined<T>(thread: thread::JoinHandle<io::Result<T>>) -> io::Result<T> {
    thread.join().map_err(|_| io::Error::other("a thread panicked"))?
}

fn load(server: SocketAddr, flows: usize, in_flight: u64, size: usize, length: Duration) -> io::Result<()> {
    let began = Instant::now();
    let threads: Vec<_> = (0..flows).map(|_| thread::spawn(move || flow(server, in_flight, size, began + length))).collect();
    let (mut trips, mut lost) = (0, 0);
    for thread in threads {
        let (its, gone) = joined(thread)?;
        trips += its;
        lost += gone;
    }
    println!("{trips} {lost} {:.6}", began.elapsed().as_secs_f64());
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["echo", ref addresses @ ..] => echo_at(addresses),
        ["load", address, flows, in_flight, size, seconds] => {
            let parsed = || -> Option<_> {
                let length = Duration::from_secs_f64(seconds.parse().ok()?);
                Some((address.parse().ok()?, flows.parse().ok()?, in_flight.parse().ok()?, size.parse().ok()?, length))
            };
            match parsed() {
                Some((server, flows, in_flight, size, length)) => load(server, flows, in_flight, size, length),
                None => Err(io::Error::other("load wants ADDRESS:PORT FLOWS IN_FLIGHT SIZE SECONDS")),
            }
        }
        _ => Err(io::Error::other("say `echo ADDRESS:PORT...` or `load ADDRESS:PORT FLOWS IN_FLIGHT SIZE SECONDS`")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("datagrams: {error}");
            ExitCode::FAILURE
        }
    }
}
