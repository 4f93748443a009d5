// SPDX-License-Identifier: Apache-2.0
//! What is written is read again; what a kernel really said is understood.

use std::net::IpAddr;

use super::*;
use crate::parse::{attributes, messages};

fn key() -> Key {
    Key { family: 2, target: Target::Address(6, IpAddr::from([10, 96, 0, 1]), 80) }
}

fn server(key: Key) -> Server {
    Server { key, scheduler: "wrr".to_owned(), flags: 0x11, timeout: 10_800, prefix: 24, engine: String::new() }
}

fn read_back(written: &Server) -> Option<HeldServer> {
    let mut bytes = Vec::new();
    written.write(&mut Body::loose(&mut bytes));
    HeldServer::read(attributes(&bytes))
}

#[test]
fn a_server_is_read_as_it_was_written() {
    let six = Key { family: 10, target: Target::Address(132, "fd00::1".parse().unwrap(), 80) };
    let marked = Key { family: 10, target: Target::Mark(0x14001) };
    for (key, prefix) in [(key(), 0), (key(), 24), (key(), 32), (six, 1), (six, 128), (marked, 64)] {
        let written = Server { prefix, engine: "sip".to_owned(), ..server(key) };
        assert_eq!(read_back(&written), Some(HeldServer { server: written, statistics: [0; 5] }));
    }
}

#[test]
fn a_netmask_is_a_mask_for_one_family_and_a_length_for_the_other() {
    let netmask = |key, prefix| {
        let mut bytes = Vec::new();
        Server { prefix, ..server(key) }.write(&mut Body::loose(&mut bytes));
        let found = attributes(&bytes).find(|each| each.kind == wire::SERVICE_NETMASK);
        found.map(|attribute| attribute.content.to_vec())
    };
    assert_eq!(netmask(key(), 24), Some(vec![255, 255, 255, 0]));
    assert_eq!(netmask(key(), 0), Some(vec![0; 4]));
    let six = Key { family: 10, target: Target::Mark(1) };
    assert_eq!(netmask(six, 128), Some(128_u32.to_ne_bytes().to_vec()));
}

#[test]
fn a_real_server_is_read_as_it_was_written() {
    for address in ["10.1.0.2", "fd00::2"] {
        let real = Real { address: address.parse().unwrap(), port: 8080, weight: 7, forwarding: 0, upper: 9, lower: 4 };
        let mut bytes = Vec::new();
        real.write(&mut Body::loose(&mut bytes));
        let held = HeldReal::read(attributes(&bytes), 2);
        assert_eq!(held, Some(HeldReal { real, connections: [0; 3], statistics: [0; 5] }));
    }
}

#[test]
fn statistics_of_64_bits_win_whatever_their_place() {
    let write_short = |body: &mut Body<'_>| {
        body.nest(wire::SERVICE_STATS, |stats| (1..=3).for_each(|kind| stats.put(kind, &7_u32.to_ne_bytes())));
    };
    let write_long = |body: &mut Body<'_>| {
        body.nest(wire::SERVICE_STATS64, |stats| (1..=10).for_each(|kind| stats.put(kind, &(1_u64 << 40).to_ne_bytes())));
    };
    for long_first in [true, false] {
        let mut bytes = Vec::new();
        let mut body = Body::loose(&mut bytes);
        key().write(&mut body);
        if long_first {
            write_long(&mut body);
            write_short(&mut body);
        } else {
            write_short(&mut body);
            write_long(&mut body);
        }
        assert_eq!(HeldServer::read(attributes(&bytes)).map(|held| held.statistics), Some([1 << 40; 5]));
    }
}

#[test]
fn attributes_nobody_knows_are_skipped_and_a_server_without_a_name_is_none() {
    let mut bytes = Vec::new();
    let mut body = Body::loose(&mut bytes);
    body.put(200, &[1, 2, 3]);
    key().write(&mut body);
    assert_eq!(HeldServer::read(attributes(&bytes)).map(|held| held.server.key), Some(key()));

    let mut bytes = Vec::new();
    Body::loose(&mut bytes).put(wire::SERVICE_PORT, &80_u16.to_be_bytes());
    assert_eq!(HeldServer::read(attributes(&bytes)), None);
    assert_eq!(HeldReal::read(attributes(&bytes), 2), None);
}

/// What Linux 6.1 told of `ipvsadm -A -t 10.96.0.1:80 -s wrr -p 10800 -M 255.255.255.0 -b flag-2`.
const SERVICE: &str = "\
    40010000200002000500000012010000010100002c01010006000100020000000600020006000000140003000a6000010000000000000000\
    00000000060004000050000008000600777272000c00070013000000ffffffff08000800302a000008000900ffffff005c000a0008000100\
    00000000080002000000000008000300000000000c00040000000000000000000c0005000000000000000000080006000000000008000700\
    000000000800080000000000080009000000000008000a00000000007c000c000c00010000000000000000000c0002000000000000000000\
    0c00030000000000000000000c00040000000000000000000c00050000000000000000000c00060000000000000000000c00070000000000\
    000000000c00080000000000000000000c00090000000000000000000c000a000000000000000000";

/// What it told of `ipvsadm -A -f 81921 -6 -s mh`.
const MARKED: &str = "\
    240100002000020005000000120100000101000010010100060001000a0000000800050001400100070006006d6800000c00070002000000\
    ffffffff080008000000000008000900800000005c000a000800010000000000080002000000000008000300000000000c00040000000000\
    000000000c0005000000000000000000080006000000000008000700000000000800080000000000080009000000000008000a0000000000\
    7c000c000c00010000000000000000000c00020000000000000000000c00030000000000000000000c00040000000000000000000c000500\
    00000000000000000c00060000000000000000000c00070000000000000000000c00080000000000000000000c0009000000000000000000\
    0c000a000000000000000000";

/// What it told of `ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 7 -x 100 -y 50`.
const DESTINATION: &str = "\
    640100002000020005000000120100000501000050010200140001000a010002000000000000000000000000060002001f90000008000300\
    00000000080004000700000005000d000000000006000e000000000006000f00000000000800050064000000080006003200000008000700\
    000000000800080000000000080009000000000006000b00020000005c000a00080001000000000008000200000000000800030000000000\
    0c00040000000000000000000c00050000000000000000000800060000000000080007000000000008000800000000000800090000000000\
    08000a00000000007c000c000c00010000000000000000000c00020000000000000000000c00030000000000000000000c00040000000000\
    000000000c00050000000000000000000c00060000000000000000000c00070000000000000000000c00080000000000000000000c000900\
    00000000000000000c000a000000000000000000";

/// What it told of its time-outs.
const CONFIG: &str = "2c0000002000000005000000120100000c01000008000400840300000800050078000000080006002c010000";

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u8> = hexadecimal.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn only<T>(told: &str, read: impl FnOnce(&Message<'_>) -> Option<T>) -> Option<T> {
    read(&messages(&bytes(told)).next()?)
}

#[test]
fn what_a_kernel_said_is_understood() {
    let held = only(SERVICE, dump::server);
    assert_eq!(held, Some(HeldServer { server: server(key()), statistics: [0; 5] }));

    let key = Key { family: 10, target: Target::Mark(0x14001) };
    let marked = Server { key, scheduler: "mh".to_owned(), flags: 0, timeout: 0, prefix: 128, engine: String::new() };
    assert_eq!(only(MARKED, dump::server), Some(HeldServer { server: marked, statistics: [0; 5] }));

    let address = IpAddr::from([10, 1, 0, 2]);
    let real = Real { address, port: 8080, weight: 7, forwarding: 0, upper: 100, lower: 50 };
    let held = only(DESTINATION, |message| dump::real(message, 2));
    assert_eq!(held, Some(HeldReal { real, connections: [0; 3], statistics: [0; 5] }));

    let mut timeouts = [0; 3];
    messages(&bytes(CONFIG)).for_each(|message| dump::read_timeouts(&message, &mut timeouts));
    assert_eq!(timeouts, [900, 120, 300]);
}

#[test]
fn what_a_kernel_said_with_any_byte_changed_is_survived() {
    for told in [SERVICE, MARKED, DESTINATION, CONFIG] {
        let good = bytes(told);
        for at in 0..good.len() {
            for value in [0, 1, 3, 4, 127, 255] {
                let mut changed = good.clone();
                changed[at] = value;
                messages(&changed).chain(messages(&changed[..at])).for_each(|message| read_for_test(&message));
            }
        }
    }
}
