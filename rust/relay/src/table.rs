// SPDX-License-Identifier: Apache-2.0
//! The Services as workers see them: one snapshot, swapped as a whole, found by the address a client dialled.
//!
//! - `service`: what is asked for, as plain values; `live`: the same in force
//! - `shards`: the maps of a snapshot, of which a change copies little

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

mod live;
mod service;
mod shards;

pub use live::{Live, Member, Set};
pub use service::{Endpoint, Frontend, Method, Protocol, Scope, Service};

use shards::Shards;

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
    services: Shards<Arc<str>, Arc<Live>>,
    frontends: Shards<(Protocol, Option<IpAddr>, u16), Found>,
}

impl Table {
    /// The frontend at an address: that very one, else the `NodePort` of its family, else that of both.
    pub fn find(&self, protocol: Protocol, address: SocketAddr) -> Option<&Found> {
        let any = match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let places = [Some(address.ip()), Some(any), None];
        places.into_iter().find_map(|place| self.frontends.get(&(protocol, place, address.port())))
    }

    /// A Service by its key.
    pub fn service(&self, key: &str) -> Option<&Arc<Live>> {
        self.services.get(key)
    }

    /// Every Service.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Live>> {
        self.services.values()
    }

    /// The table with changes made. `removes` go first, then `upserts` take the place of what has their key.
    ///
    /// True: some endpoint is not in its Service any more, or some frontend is nobody's.
    pub fn with(&self, upserts: Vec<Service>, removes: &[String]) -> (Self, bool) {
        let mut next = self.clone();
        let mut departed = false;
        for key in removes {
            if let Some(old) = next.services.remove(key.as_str()) {
                departed |= next.withdraw(&old, &[]);
                departed |= old.succeed(None);
            }
        }
        next.services.expect(upserts.len());
        next.frontends.expect(upserts.len());
        for service in upserts {
            let old = next.services.get(&*service.key).cloned();
            let live = Arc::new(Live::new(service, old.as_deref()));
            if let Some(old) = old {
                departed |= next.withdraw(&old, &live.service.frontends);
                departed |= old.succeed(Some(&live));
            }
            for (number, frontend) in live.service.frontends.iter().enumerate() {
                let found = Found { live: Arc::clone(&live), frontend: number };
                next.frontends.insert(place(frontend), found);
            }
            next.services.insert(Arc::clone(&live.service.key), live);
        }
        (next, departed)
    }

    /// Take a Service's frontends out, but those that stay, and those that another Service has taken over by now. True if there were any.
    fn withdraw(&mut self, old: &Live, stay: &[Frontend]) -> bool {
        let mut left = false;
        for frontend in &old.service.frontends {
            let place = place(frontend);
            let own = self.frontends.get(&place).is_some_and(|found| found.live.service.key == old.service.key);
            if own && !stay.contains(frontend) {
                self.frontends.remove(&place);
                left = true;
            }
        }
        left
    }
}

fn place(frontend: &Frontend) -> (Protocol, Option<IpAddr>, u16) {
    (frontend.protocol, frontend.address, frontend.port)
}

#[cfg(test)]
mod tests;
