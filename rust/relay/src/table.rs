// SPDX-License-Identifier: Apache-2.0
//! The Services as workers see them: one snapshot, swapped as a whole, found by the address a client dialled.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use crate::stats::Meter;

mod shards;

use shards::Shards;

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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

    /// The endpoints of both scopes; one that is in both comes twice.
    fn everybody(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.all.iter().chain(&self.local)
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
    services: Shards<String, Arc<Live>>,
    frontends: Shards<(Protocol, Option<IpAddr>, u16), Found>,
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
        for Frontend { protocol, address, port, .. } in &old.service.frontends {
            let dialled = (*protocol, *address, *port);
            if self.frontends.get(&dialled).is_some_and(|found| found.live.service.key == key) {
                self.frontends.remove(&dialled);
            }
        }
        Some(old)
    }
}

fn live(service: Service, old: Option<&Live>) -> Live {
    let known = old.into_iter().flat_map(Live::everybody);
    let mut members: HashMap<&Endpoint, Arc<Member>> = known.map(|member| (&member.endpoint, Arc::clone(member))).collect();
    for endpoint in service.all.iter().chain(&service.local) {
        let made = || Member { endpoint: endpoint.clone(), meter: Meter::default(), departed: AtomicBool::new(false) };
        members.entry(endpoint).or_insert_with(|| Arc::new(made()));
    }
    let members_of = |endpoints: &[Endpoint]| endpoints.iter().map(|each| Arc::clone(&members[each])).collect();
    let (all, local) = (members_of(&service.all), members_of(&service.local));
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
    let stay: HashSet<*const Member> = new.into_iter().flat_map(Live::everybody).map(Arc::as_ptr).collect();
    let mut departed = false;
    for member in old.everybody().filter(|member| !stay.contains(&Arc::as_ptr(member))) {
        member.departed.store(true, Ordering::Relaxed);
        departed = true;
    }
    departed
}
