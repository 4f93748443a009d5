// SPDX-License-Identifier: Apache-2.0
//! What connections leave in a report.

use std::net::SocketAddr;

use super::*;
use crate::table::{Endpoint, Frontend, Method, Protocol, Service, Table};

fn service(weight: u32) -> Service {
    let endpoint = Endpoint { address: SocketAddr::from(([10, 0, 0, 1], 80)), weight, local: true };
    Service {
        key: "default/web:http".into(),
        seed: 7,
        frontends: vec![Frontend { name: "web".into(), protocol: Protocol::Tcp, address: None, port: 80 }],
        all: vec![endpoint],
        local: vec![endpoint],
        method: Method::default(),
        affinity: Duration::ZERO,
        proxy_protocol: false,
        keep_source: false,
    }
}

fn found(table: &Table) -> (Found, Arc<Member>) {
    let found = table.find(Protocol::Tcp, SocketAddr::from(([127, 0, 0, 1], 80))).unwrap().clone();
    let member = Arc::clone(found.live.everyone().next().unwrap());
    (found, member)
}

#[test]
fn connections_count_at_their_frontend_and_their_endpoint() {
    let (table, _) = Table::default().with(vec![service(1)], &[]);
    let (found, member) = found(&table);
    let one = Flow::opened(0, &found, Arc::clone(&member), Duration::from_millis(1));
    let other = Flow::opened(1, &found, Arc::clone(&member), Duration::from_millis(2));
    one.moved(Way::Up, 10);
    other.moved(Way::Up, 5);
    other.moved(Way::Down, 7);
    other.first_byte(Duration::from_millis(3));
    one.closed(End::EndpointReset);
    failed(1, &member, Failure::TimedOut);

    let report = Report::of(&table);
    assert_eq!((report.frontends.len(), report.endpoints.len()), (1, 1));
    for (count, name) in [(&report.frontends[0], "web"), (&report.endpoints[0], "10.0.0.1:80")] {
        assert_eq!((count.service.as_str(), count.name.as_str()), ("default/web:http", name));
        assert_eq!((count.connections, count.active, count.closed), (2, 1, 1));
        assert_eq!(count.ended, [0, 0, 1, 0, 0]);
        assert_eq!((count.up, count.down), (15, 7));
        assert_eq!((count.dial.steps.iter().sum::<u64>(), count.dial.microseconds), (2, 3000));
        assert_eq!(count.first_byte.steps.iter().sum::<u64>(), 1);
    }
    assert_eq!(report.endpoints[0].failed, [0, 1]);
    assert_eq!(report.endpoints[0].failures, 1);
}

#[test]
fn counters_outlive_changes_of_the_service() {
    let (table, _) = Table::default().with(vec![service(1)], &[]);
    let (found, member) = found(&table);
    let flow = Flow::begun(0, &found, member);
    flow.moved(Way::Down, 7);
    let (table, departed) = table.with(vec![service(5)], &[]);
    flow.moved(Way::Down, 1);
    let report = Report::of(&table);
    assert!(!departed);
    assert_eq!((report.frontends[0].down, report.endpoints[0].down), (8, 8));
    assert_eq!((report.endpoints[0].active, report.endpoints[0].dial.steps.len()), (1, 0));
}
