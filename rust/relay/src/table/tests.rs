// SPDX-License-Identifier: Apache-2.0
//! Changes of the table: what is found, what stays, who leaves, and what it costs to know.

use std::time::Duration;

use super::*;

fn frontend(number: u8, port: u16) -> Frontend {
    let address = (number > 0).then(|| IpAddr::from([10, 96, 0, number]));
    Frontend { name: format!("{address:?}:{port}"), protocol: Protocol::Tcp, address, port }
}

fn endpoint(number: u8) -> Endpoint {
    Endpoint { address: SocketAddr::from(([10, 0, 0, number], 80)), weight: 1, local: false }
}

fn service(key: &str, frontends: &[Frontend], endpoints: &[u8]) -> Service {
    Service {
        key: key.into(),
        seed: 7,
        frontends: frontends.to_vec(),
        all: endpoints.iter().copied().map(endpoint).collect(),
        local: Vec::new(),
        method: Method::default(),
        affinity: Duration::ZERO,
        proxy_protocol: false,
        keep_source: false,
    }
}

fn at(number: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 96, 0, number], port))
}

fn key_at(table: &Table, number: u8, port: u16) -> Option<&str> {
    table.find(Protocol::Tcp, at(number, port)).map(|found| &*found.live.service.key)
}

fn changed(table: &Table, upsert: Service) -> Table {
    table.with(vec![upsert], &[]).0
}

#[test]
fn the_very_address_wins_over_a_node_port() {
    let upserts = vec![service("node", &[frontend(0, 80)], &[1]), service("one", &[frontend(1, 80)], &[2])];
    let (table, _) = Table::default().with(upserts, &[]);
    assert_eq!(key_at(&table, 1, 80), Some("one"));
    assert_eq!(key_at(&table, 2, 80), Some("node"));
    assert_eq!(key_at(&table, 2, 81), None);
    assert!(table.find(Protocol::Udp, at(1, 80)).is_none());
}

#[test]
fn a_node_port_may_be_of_another_service_in_each_family() {
    let node_port = |any: &str| Frontend { address: Some(any.parse().unwrap()), ..frontend(0, 80) };
    let upserts = vec![service("four", &[node_port("0.0.0.0")], &[1]), service("six", &[node_port("::")], &[2])];
    let (table, _) = Table::default().with(upserts, &[]);
    let found = |address: &str| {
        let found = table.find(Protocol::Tcp, address.parse().unwrap()).unwrap();
        found.live.service.key.to_string()
    };
    assert_eq!([found("10.0.0.1:80"), found("[fd00::1]:80")], ["four", "six"]);
}

#[test]
fn a_change_takes_the_place_of_the_whole_service() {
    let table = changed(&Table::default(), service("one", &[frontend(1, 80), frontend(1, 81)], &[1]));
    let next = changed(&table, service("one", &[frontend(1, 81), frontend(1, 82)], &[2]));
    assert_eq!([80, 81, 82].map(|port| key_at(&next, 1, port)), [None, Some("one"), Some("one")]);
    assert_eq!(next.find(Protocol::Tcp, at(1, 81)).unwrap().frontend, 0);
    assert_eq!([80, 81, 82].map(|port| key_at(&table, 1, port)), [Some("one"), Some("one"), None]);
    let (gone, departed) = next.with(Vec::new(), &["one".to_owned()]);
    assert!(departed);
    assert_eq!((gone.services().count(), key_at(&gone, 1, 81)), (0, None));
}

#[test]
fn a_frontend_changes_its_service_in_either_order() {
    let start = changed(&Table::default(), service("one", &[frontend(1, 80)], &[1]));
    let (gives, takes) = (service("one", &[], &[1]), service("two", &[frontend(1, 80)], &[2]));
    for upserts in [vec![gives.clone(), takes.clone()], vec![takes, gives]] {
        assert_eq!(key_at(&start.with(upserts, &[]).0, 1, 80), Some("two"));
    }
}

#[test]
fn who_stays_stays_the_same_and_who_leaves_is_told() {
    let table = changed(&Table::default(), service("one", &[frontend(1, 80)], &[1, 2, 3]));
    let before: Vec<Arc<Member>> = table.service("one").unwrap().everyone().cloned().collect();
    let mut next = service("one", &[frontend(1, 80)], &[3, 4, 1]);
    next.all[0].weight = 9;
    let (table, departed) = table.with(vec![next], &[]);
    let after: Vec<Arc<Member>> = table.service("one").unwrap().everyone().cloned().collect();

    assert!(departed);
    assert_eq!(before.iter().map(|member| member.departed()).collect::<Vec<_>>(), [false, true, false]);
    assert!(after.iter().all(|member| !member.departed()));
    assert!(Arc::ptr_eq(&before[0], &after[2]));
    // Another weight is another Member of the same endpoint.
    assert!(std::ptr::eq(before[2].lasting(), after[0].lasting()));
    assert_eq!((before[2].endpoint.weight, after[0].endpoint.weight), (1, 9));
}

#[test]
fn an_endpoint_that_moves_between_scopes_stays() {
    let table = changed(&Table::default(), service("one", &[], &[1]));
    let mut next = service("one", &[], &[]);
    next.local = vec![endpoint(1)];
    let (table, departed) = table.with(vec![next], &[]);
    assert!(!departed);
    let mut both = service("one", &[], &[1, 2]);
    both.local = vec![endpoint(2), endpoint(3)];
    let table = changed(&table, both);
    let found: Vec<_> = table.service("one").unwrap().distinct().map(|member| member.endpoint.address).collect();
    assert_eq!(found, [1, 2, 3].map(|number| endpoint(number).address));
}
