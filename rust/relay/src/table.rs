// SPDX-License-Identifier: Apache-2.0
//! The Services as workers see them: one snapshot, swapped as a whole, found by the address a client dialled.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use crate::stats::Meter;

/// What a port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Which endpoints of a Service may answer a client: the rules judged it and chose the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every one.
    All,
    /// Those on this node.
    Local,
}

impl Scope {
    /// Both, in the order of their numbers.
    pub const BOTH: [Self; 2] = [Self::All, Self::Local];
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// By chance, by weight.
    Random,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// By the client's address: rendezvous hashing.
    Rendezvous,
    /// By the client's address: a Maglev table.
    Maglev,
}

/// One Service port in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The Route's key; names the Service in logs and counters.
    pub key: String,
    /// Spreads Services with the same endpoints: the hash of its UID.
    pub seed: u64,
    /// Where clients dial it.
    pub frontends: Vec<Frontend>,
    /// The endpoints behind the port for all.
    pub all: Vec<Endpoint>,
    /// The endpoints behind the port for local ones.
    pub local: Vec<Endpoint>,
    /// How one of them is chosen.
    pub method: Method,
    /// How long a client stays with its endpoint after its last connection; zero: not at all.
    pub affinity: Duration,
    /// Tell the endpoint the client's address in a PROXY protocol v2 header.
    pub proxy_protocol: bool,
    /// Dial endpoints on this node from the client's address.
    pub keep_source: bool,
}

/// One address clients dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// As the `RoutingTable` prints it.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// None: a `NodePort`, on any address of the node.
    pub address: Option<IpAddr>,
    /// The port dialled.
    pub port: u16,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Names it in counters.
    pub key: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of new connections; 0: none.
    pub weight: u32,
    /// On this node.
    pub local: bool,
}

/// An endpoint as workers share it: the same one for as long as it serves its Service.
#[derive(Debug)]
pub struct Member {
    /// What it is.
    pub endpoint: Endpoint,
    /// What it did.
    pub meter: Meter,
    departed: AtomicBool,
}

impl Member {
    /// It has left its Service: its connections are to end by the drain time-out.
    pub fn departed(&self) -> bool {
        self.departed.load(Ordering::Relaxed)
    }
}

/// A Service in force.
#[derive(Debug)]
pub struct Live {
    /// What was asked for.
    pub service: Service,
    /// Its frontends' counters, in their order.
    pub frontends: Vec<Arc<Meter>>,
    /// Every endpoint.
    pub all: Vec<Arc<Member>>,
    /// Those of the local scope.
    pub local: Vec<Arc<Member>>,
}

impl Live {
    /// The endpoints that may answer in a scope.
    pub fn members(&self, scope: Scope) -> &[Arc<Member>] {
        match scope {
            Scope::All => &self.all,
            Scope::Local => &self.local,
        }
    }
}

/// A frontend that was dialled.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its Service.
    pub live: Arc<Live>,
    /// Which of the Service's frontends it is.
    pub frontend: usize,
}

/// The snapshot.
#[derive(Debug, Default, Clone)]
pub struct Table {
    services: HashMap<String, Arc<Live>>,
    frontends: HashMap<(Protocol, Option<IpAddr>, u16), Found>,
}

impl Table {
    /// The frontend at an address: that very one, else the `NodePort`.
    pub fn find(&self, protocol: Protocol, address: SocketAddr) -> Option<&Found> {
        let exact = (protocol, Some(address.ip()), address.port());
        self.frontends.get(&exact).or_else(|| self.frontends.get(&(protocol, None, address.port())))
    }

    /// Every Service.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Live>> {
        self.services.values()
    }

    /// The table with changes made. `removes` go first, then `upserts` take the place of what has their key.
    ///
    /// True: some endpoint is not in its Service any more.
    pub fn with(&self, upserts: Vec<Service>, removes: &[String]) -> (Self, bool) {
        let mut next = self.clone();
        let mut departed = false;
        for key in removes {
            departed |= next.take(key).is_some_and(|old| depart(&old, None));
        }
        for service in upserts {
            let old = next.take(&service.key);
            let live = Arc::new(live(service, old.as_deref()));
            departed |= old.is_some_and(|old| depart(&old, Some(&live)));
            for (number, frontend) in live.service.frontends.iter().enumerate() {
                let found = Found { live: Arc::clone(&live), frontend: number };
                next.frontends.insert((frontend.protocol, frontend.address, frontend.port), found);
            }
            next.services.insert(live.service.key.clone(), live);
        }
        (next, departed)
    }

    fn take(&mut self, key: &str) -> Option<Arc<Live>> {
        let old = self.services.remove(key)?;
        self.frontends.retain(|_, found| found.live.service.key != key);
        Some(old)
    }
}

fn live(service: Service, old: Option<&Live>) -> Live {
    let known: Vec<&Arc<Member>> = old.into_iter().flat_map(|old| old.all.iter().chain(&old.local)).collect();
    let mut fresh: Vec<Arc<Member>> = Vec::new();
    let mut member = |endpoint: &Endpoint| {
        let same = |member: &&Arc<Member>| member.endpoint == *endpoint;
        if let Some(member) = known.iter().copied().find(same).or_else(|| fresh.iter().find(same)) {
            return Arc::clone(member);
        }
        let member =
            Arc::new(Member { endpoint: endpoint.clone(), meter: Meter::default(), departed: AtomicBool::new(false) });
        fresh.push(Arc::clone(&member));
        member
    };
    let all = service.all.iter().map(&mut member).collect();
    let local = service.local.iter().map(&mut member).collect();
    let frontends = service
        .frontends
        .iter()
        .map(|frontend| {
            let same = |old: &Live| old.service.frontends.iter().position(|each| each == frontend);
            old.and_then(|old| same(old).map(|number| Arc::clone(&old.frontends[number]))).unwrap_or_default()
        })
        .collect();
    Live { service, frontends, all, local }
}

fn depart(old: &Live, new: Option<&Live>) -> bool {
    let mut departed = false;
    for member in old.all.iter().chain(&old.local) {
        let stays = new.is_some_and(|new| new.all.iter().chain(&new.local).any(|each| Arc::ptr_eq(each, member)));
        if !stays {
            member.departed.store(true, Ordering::Relaxed);
            departed = true;
        }
    }
    departed
}
