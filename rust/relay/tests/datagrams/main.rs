// SPDX-License-Identifier: Apache-2.0
//! Datagrams through a relay on loopback.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

mod site;

use relay::Config;
use site::{ask, config, endpoint, hasty, hear, nobody, until, who, Site, PATIENCE};

#[test]
fn answers_come_from_the_address_that_was_dialled() {
    let site = Site::start(config(), &[endpoint(Ipv4Addr::LOCALHOST)]);
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 1, 2, 3)] {
        assert_eq!(ask(&site.dial(address), b"hello").unwrap(), b"hello");
    }
    assert_eq!(ask(&site.dial(Ipv6Addr::LOCALHOST), b"hello").unwrap(), b"hello");
    let six = Site::start(config(), &[endpoint(Ipv6Addr::LOCALHOST)]);
    assert_eq!(ask(&six.dial(Ipv6Addr::LOCALHOST), b"hello").unwrap(), b"hello");
}

#[test]
fn datagrams_of_every_size_keep_their_bounds_and_their_order() {
    let site = Site::start(config(), &[endpoint(Ipv4Addr::LOCALHOST)]);
    let client = site.client();
    for lengths in
        [vec![64; 40], vec![64, 64, 10, 64, 0, 0, 7], vec![1400, 1400, 900, 20_000, 1], vec![60_000, 65_507], vec![]]
    {
        let sent: Vec<Vec<u8>> = lengths.iter().zip(0_u8..).map(|(&length, fill)| vec![fill; length]).collect();
        for datagram in &sent {
            assert_eq!(client.send(datagram).unwrap(), datagram.len());
        }
        for datagram in &sent {
            assert_eq!(&hear(&client).unwrap(), datagram);
        }
    }
    until("all bytes are counted", || site.count().up == site.count().down && site.count().up > 0);
}

#[test]
fn a_client_stays_and_clients_take_turns() {
    let endpoints = [endpoint(Ipv4Addr::LOCALHOST), endpoint(Ipv4Addr::LOCALHOST)];
    let site = Site::start(config(), &endpoints);
    let clients: Vec<UdpSocket> = (0..4).map(|_| site.client()).collect();
    let first: Vec<_> = clients.iter().map(who).collect();
    assert_eq!(first.iter().collect::<BTreeSet<_>>(), endpoints.iter().collect());
    assert_eq!(clients.iter().map(who).collect::<Vec<_>>(), first);
    assert_eq!((site.count().connections, site.count().active), (4, 4));
}

#[test]
fn another_endpoint_is_asked_where_one_refuses() {
    let well = endpoint(Ipv4Addr::LOCALHOST);
    let site = Site::start(config(), &[nobody(), well]);
    for _ in 0..20 {
        assert_eq!(who(&site.client()), well);
    }
    let refused: u64 = site.relay.stats().endpoints.iter().map(|count| count.failures).sum();
    assert!((1..20).contains(&refused), "{refused} of 20 questions were refused: the endpoint was not left alone");
}

#[test]
fn a_client_learns_that_nobody_listens() {
    for refusing in [vec![nobody()], vec![]] {
        let site = Site::start(config(), &refusing);
        let client = site.client();
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let error = ask(&client, b"hello").unwrap_err().kind();
        assert_eq!(error, if raw_sockets() { ErrorKind::ConnectionRefused } else { ErrorKind::WouldBlock });
        assert_eq!(site.count().active, 0);
    }
    let site = Site::start(config(), &[(Ipv6Addr::LOCALHOST, 1).into()]);
    let client = site.dial(Ipv6Addr::LOCALHOST);
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let error = ask(&client, b"hello").unwrap_err().kind();
    assert_eq!(error, if raw_sockets() { ErrorKind::ConnectionRefused } else { ErrorKind::WouldBlock });
}

/// Whether this process may open raw sockets: `CAP_NET_RAW` is bit 13 of its capabilities.
fn raw_sockets() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() >> 13 & 1 == 1
}

#[test]
fn a_flow_ends_at_once_when_its_endpoint_leaves() {
    let (one, two) = (endpoint(Ipv4Addr::LOCALHOST), endpoint(Ipv4Addr::LOCALHOST));
    let site = Site::start(config(), &[one]);
    let client = site.client();
    assert_eq!(who(&client), one);
    site.set(&[two]);
    assert_eq!(who(&client), two);
    site.set(&[]);
    until("the flow has ended", || site.count().active == 0);
    site.set(&[one, two]);
    assert!([one, two].contains(&who(&client)));
    site.relay.apply(Vec::new(), &["shop/dns".to_owned()]);
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    ask(&client, b"hello").unwrap_err();
}

#[test]
fn a_flow_ends_when_its_frontend_is_another_services() {
    let (one, two) = (endpoint(Ipv4Addr::LOCALHOST), endpoint(Ipv4Addr::LOCALHOST));
    let site = Site::start(config(), &[one]);
    let client = site.client();
    assert_eq!(who(&client), one);
    let (mut old, mut new) = (site.service(&[one]), site.service(&[two]));
    new.key = "shop/other".into();
    old.frontends.clear();
    site.relay.apply(vec![old, new], &[]);
    assert_eq!(who(&client), two);
}

#[test]
fn a_silent_flow_ends() {
    let site = Site::start(hasty(), &[endpoint(Ipv4Addr::LOCALHOST)]);
    let client = site.client();
    for _ in 0..10 {
        who(&client);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((site.count().connections, site.count().active), (1, 1));
    until("the flow has ended", || site.count().active == 0);
    who(&client);
    assert_eq!(site.count().connections, 2);
}

#[test]
fn any_number_of_clients_is_served_with_few_flows() {
    let site = Site::start(Config { max_connections: 8, ..config() }, &[endpoint(Ipv4Addr::LOCALHOST)]);
    let clients: Vec<UdpSocket> = (0..64).map(|_| site.client()).collect();
    for _ in 0..3 {
        for client in &clients {
            assert_eq!(ask(client, b"hello").unwrap(), b"hello");
        }
    }
    assert!(site.count().active <= 8, "{}", site.count().active);
}

#[test]
fn an_endpoint_that_dies_is_replaced_and_its_client_told() {
    let dying = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let well = endpoint(Ipv4Addr::LOCALHOST);
    let site = Site::start(config(), &[dying.local_addr().unwrap()]);
    let client = site.client();
    client.send(b"hello").unwrap();
    dying.set_read_timeout(Some(PATIENCE)).unwrap();
    let (_, from) = dying.recv_from(&mut [0; 8]).unwrap();
    dying.send_to(b"hello", from).unwrap();
    assert_eq!(hear(&client).unwrap(), b"hello");
    site.set(&[dying.local_addr().unwrap(), well]);
    assert_eq!(site.count().active, 1);
    drop(dying);
    let told = ask(&client, b"hello");
    if raw_sockets() {
        assert_eq!(told.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    assert_eq!(who(&client), well);
}

#[test]
fn a_relay_that_drains_answers_those_it_has() {
    let site = Site::start(config(), &[endpoint(Ipv4Addr::LOCALHOST)]);
    let (client, late) = (site.client(), site.client());
    who(&client);
    site.relay.drain(Duration::from_secs(1));
    std::thread::sleep(Duration::from_millis(200));
    late.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    ask(&late, b"hello").unwrap_err();
    until("what was left has ended", || site.count().active == 0);
}
