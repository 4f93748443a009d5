// SPDX-License-Identifier: Apache-2.0
//! Picks as workers make them, on a clock of the test's own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::table::{Endpoint, Method, Service};

/// A Service and one worker.
struct Bench {
    service: Service,
    live: Live,
    picker: Picker,
    start: Instant,
    seconds: u64,
}

fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number as u8], 8000 + number))
}

fn endpoint(number: u16) -> Endpoint {
    Endpoint { address: address(number), weight: 1, local: false }
}

fn client(number: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number as u8], 40_000 + number))
}

impl Bench {
    fn new(endpoints: impl IntoIterator<Item = u16>, method: Method) -> Self {
        let service = Service {
            key: "default/web:http".into(),
            seed: 7,
            frontends: Vec::new(),
            all: endpoints.into_iter().map(endpoint).collect(),
            local: Vec::new(),
            method,
            affinity: Duration::ZERO,
            proxy_protocol: false,
            keep_source: false,
        };
        let live = Live::new(service.clone(), None);
        Self { service, live, picker: Picker::default(), start: Instant::now(), seconds: 0 }
    }

    fn change(&mut self, change: impl FnOnce(&mut Service)) {
        change(&mut self.service);
        self.live = Live::new(self.service.clone(), Some(&self.live));
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds)
    }

    fn try_again(&mut self, from: u16, tried: &[u16]) -> Option<u16> {
        let tried: Vec<SocketAddr> = tried.iter().copied().map(address).collect();
        let picked = self.picker.pick(&self.live, Scope::All, client(from), &tried, self.now())?;
        Some(picked.endpoint.address.port() - 8000)
    }

    fn pick(&mut self, from: u16) -> u16 {
        self.try_again(from, &[]).expect("there are endpoints")
    }

    fn counts(&mut self, picks: u16) -> BTreeMap<u16, u16> {
        let mut counts = BTreeMap::new();
        (0..picks).for_each(|from| *counts.entry(self.pick(from)).or_default() += 1);
        counts
    }

    fn member(&self, number: u16) -> Arc<Member> {
        let found = self.live.everyone().find(|member| member.endpoint.address == address(number));
        Arc::clone(found.expect("the endpoint is there"))
    }

    fn failed(&mut self, number: u16) {
        let (member, now) = (self.member(number), self.now());
        self.picker.failed(&member, Failure::Refused, now);
    }
}

#[test]
fn round_robin_is_one_order_for_all_workers_and_over_changes() {
    let mut bench = Bench::new(1..=3, Method::RoundRobin);
    let mut other = Picker::default();
    let mut seen = Vec::new();
    for turn in 0..6 {
        if turn % 2 == 0 {
            seen.push(bench.pick(1));
        } else {
            let now = bench.now();
            let picked = other.pick(&bench.live, Scope::All, client(1), &[], now).unwrap();
            seen.push(picked.endpoint.address.port() - 8000);
        }
        bench.change(|service| service.proxy_protocol = !service.proxy_protocol);
    }
    assert_eq!(seen[..3], seen[3..]);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn scopes_take_turns_apart() {
    let mut bench = Bench::new(1..=2, Method::RoundRobin);
    bench.change(|service| service.local = vec![endpoint(1), endpoint(2)]);
    let now = bench.now();
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    for _ in 0..2 {
        for scope in Scope::BOTH {
            let picked = bench.picker.pick(&bench.live, scope, client(1), &[], now).unwrap();
            seen[scope as usize].insert(picked.endpoint.address);
        }
    }
    assert_eq!(seen.map(|addresses| addresses.len()), [2, 2]);
}

#[test]
fn what_was_tried_is_not_tried_again() {
    for method in [Method::RoundRobin, Method::Random, Method::LeastConnections, Method::Consistent] {
        let mut bench = Bench::new(1..=4, method);
        let mut tried = Vec::new();
        for _ in 0..4 {
            let next = bench.try_again(1, &tried).unwrap();
            assert!(!tried.contains(&next), "{method:?}");
            tried.push(next);
        }
        assert_eq!(bench.try_again(1, &tried), None);
        assert_eq!(bench.live.memory.retries(), 3);
    }
}

#[test]
fn nobody_is_picked_of_nobody() {
    let mut bench = Bench::new([], Method::RoundRobin);
    assert_eq!(bench.try_again(1, &[]), None);
    bench.change(|service| service.all = vec![Endpoint { weight: 0, ..endpoint(1) }]);
    assert_eq!(bench.try_again(1, &[]), None);
}

#[test]
fn the_least_busy_by_live_connections_is_picked() {
    let mut bench = Bench::new(1..=2, Method::LeastConnections);
    bench.change(|service| {
        let name = "tcp".to_owned();
        let protocol = crate::table::Protocol::Tcp;
        service.frontends = vec![crate::table::Frontend { name, protocol, address: None, port: 80 }];
    });
    let found = crate::table::Found { live: Arc::new(Live::new(bench.service.clone(), Some(&bench.live))), frontend: 0 };
    let flows: Vec<_> = (0..3).map(|_| crate::stats::Flow::opened(0, &found, bench.member(1), Duration::ZERO)).collect();
    assert_eq!((bench.pick(1), bench.pick(1)), (2, 2));
    for flow in flows {
        flow.closed(crate::stats::End::Done);
    }
    assert_eq!(bench.counts(2).len(), 2);
}

#[test]
fn an_ejected_endpoint_is_left_alone_then_tried_by_one() {
    let mut bench = Bench::new(1..=4, Method::RoundRobin);
    bench.failed(2);
    assert_eq!(bench.counts(300).get(&2), None);
    bench.seconds = 1;
    assert_eq!(bench.counts(300).get(&2), Some(&1));
    bench.failed(2);
    bench.seconds = 2;
    assert_eq!(bench.counts(300).get(&2), None);
    bench.seconds = 3;
    assert_eq!(bench.counts(300).get(&2), Some(&1));
    let (member, now) = (bench.member(2), bench.now());
    bench.picker.opened(&member, now);
    assert_eq!(bench.counts(400).get(&2), Some(&100));
}

#[test]
fn clients_of_an_ejected_endpoint_wait_for_the_one_that_tries_it() {
    let mut bench = Bench::new(1..=4, Method::Consistent);
    let first = bench.pick(1);
    bench.failed(first);
    let second = bench.pick(1);
    assert_ne!(first, second);
    bench.seconds = 1;
    assert_eq!([bench.pick(1), bench.pick(1), bench.pick(1)], [first, second, second]);
}

#[test]
fn never_more_than_half_are_left_alone() {
    for method in [Method::RoundRobin, Method::Random] {
        let mut bench = Bench::new(1..=4, method);
        bench.failed(1);
        bench.failed(2);
        assert_eq!(bench.counts(200).keys().copied().collect::<Vec<_>>(), [3, 4]);
        bench.failed(3);
        assert_eq!(bench.counts(200).len(), 4, "{method:?}");
    }
    let mut alone = Bench::new(1..=1, Method::RoundRobin);
    alone.failed(1);
    assert_eq!(alone.pick(1), 1);
}

#[test]
fn a_long_list_is_panicked_over_too() {
    let mut bench = Bench::new(1..=100, Method::RoundRobin);
    (1..=50).for_each(|number| bench.failed(number));
    assert_eq!(bench.counts(500).len(), 50);
    bench.start += Duration::from_millis(20);
    (51..=60).for_each(|number| bench.failed(number));
    assert_eq!(bench.counts(500).len(), 100);
}

#[test]
fn a_clients_endpoint_is_kept_by_address_not_by_port() {
    let mut bench = Bench::new(1..=3, Method::RoundRobin);
    bench.change(|service| service.affinity = Duration::from_secs(10));
    let had = bench.pick(1);
    for port in [1, 2, 60_000] {
        let now = bench.now();
        let from = SocketAddr::new(client(1).ip(), port);
        let picked = bench.picker.pick(&bench.live, Scope::All, from, &[], now).unwrap();
        assert_eq!(picked.endpoint.address, address(had));
    }
    assert_eq!([bench.pick(2), bench.pick(3)].iter().collect::<BTreeSet<_>>().len(), 2);
    bench.seconds = 9;
    assert_eq!(bench.pick(1), had);
    bench.seconds = 18;
    assert_eq!(bench.pick(1), had);
    bench.seconds = 28;
    // This takes the turn at which the same endpoint would come by chance.
    assert_eq!(bench.pick(4), had);
    assert_ne!(bench.pick(1), had);
}

#[test]
fn affinity_survives_changes_and_ends_with_its_endpoint() {
    for count in [4, 40] {
        let mut bench = Bench::new(1..=count, Method::RoundRobin);
        bench.change(|service| service.affinity = Duration::from_secs(10));
        let clients = 1..=2 * count;
        let had: Vec<u16> = clients.clone().map(|from| bench.pick(from)).collect();
        bench.change(|service| service.all.push(endpoint(count + 1)));
        bench.change(|service| service.all.reverse());
        bench.change(|service| service.all.iter_mut().for_each(|each| each.weight = 5));
        assert_eq!(clients.clone().map(|from| bench.pick(from)).collect::<Vec<_>>(), had);
        // Who comes back at the same address is somebody else: of two clients at least one gets another endpoint.
        let all = bench.service.all.clone();
        bench.change(|service| service.all.retain(|each| each.address != address(had[0])));
        bench.change(|service| service.all = all);
        let now: Vec<u16> = clients.clone().map(|from| bench.pick(from)).collect();
        let moved: Vec<u16> = now.iter().zip(&had).filter(|(now, had)| now != had).map(|(_, had)| *had).collect();
        assert!(!moved.is_empty() && moved.iter().all(|&each| each == had[0]), "of {count}: {moved:?}");
        assert_eq!(clients.map(|from| bench.pick(from)).collect::<Vec<_>>(), now);
    }
}

#[test]
fn a_client_whose_endpoint_takes_nobody_gets_another_one_for_good() {
    let mut bench = Bench::new(1..=3, Method::RoundRobin);
    bench.change(|service| service.affinity = Duration::from_secs(100));
    let had = bench.pick(1);
    let next = bench.try_again(1, &[had]).unwrap();
    assert_ne!(next, had);
    assert_eq!(bench.pick(1), next);
    bench.failed(next);
    let third = bench.pick(1);
    assert_ne!(third, next);
    bench.change(|service| {
        service.all.iter_mut().filter(|each| each.address == address(third)).for_each(|each| each.weight = 0);
    });
    assert_ne!(bench.pick(1), third);
}

#[test]
fn workers_agree_on_a_clients_endpoint() {
    let mut bench = Bench::new(1..=50, Method::Random);
    bench.change(|service| service.affinity = Duration::from_secs(100));
    let (live, now) = (&bench.live, bench.now());
    let given: BTreeSet<(u16, SocketAddr)> = std::thread::scope(|scope| {
        let worker = || {
            let mut picker = Picker::default();
            let mut pick = |from| picker.pick(live, Scope::All, client(from), &[], now).unwrap().endpoint.address;
            (0..200).map(|from| (from, pick(from))).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(given.len(), 200);
}
