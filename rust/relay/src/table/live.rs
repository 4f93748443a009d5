// SPDX-License-Identifier: Apache-2.0
//! A Service in force: what was asked for, made ready for picking, with what is known of it carried over from before.
//!
//! A change makes a new `Live`. What has grown meanwhile (counters, turns, affinity, an endpoint's failures) is shared with
//! the one before as long as its bearer stays: a Service by its key, a frontend and an endpoint by their addresses.

use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use balance::Selection;

use super::service::{Endpoint, Scope, Service};
use crate::hash::{self, Map, Seeded};
use crate::pick::health::Health;
use crate::pick::memory::Memory;
use crate::stats::Meter;

/// The longest list that is searched for an endpoint's address one by one, and counted each time.
const SHORT: usize = 32;

/// Milliseconds for which a long list's count of ejected endpoints is good.
const FRESH: u64 = 16;

/// What outlives a change of an endpoint's weight: that of the member that came first is everybody's.
#[derive(Debug)]
pub(crate) struct Lasting {
    /// Tells it from another one that has its address later.
    pub number: u64,
    pub meter: Meter,
    pub health: Health,
    departed: AtomicBool,
}

impl Default for Lasting {
    fn default() -> Self {
        static BORN: AtomicU64 = AtomicU64::new(0);
        let number = BORN.fetch_add(1, Ordering::Relaxed);
        Self { number, meter: Meter::default(), health: Health::default(), departed: AtomicBool::new(false) }
    }
}

/// An endpoint as workers share it: the same one for as long as it serves its Service.
#[derive(Debug)]
pub struct Member {
    /// What it is.
    pub endpoint: Endpoint,
    own: Lasting,
    /// The member that came first, if this is a later one.
    first: Option<Arc<Member>>,
    pub(crate) memory: Arc<Memory>,
}

impl Member {
    pub(crate) fn lasting(&self) -> &Lasting {
        self.first.as_ref().map_or(&self.own, |first| &first.own)
    }

    /// It has left its Service: its connections are to end by the drain time-out.
    pub fn departed(&self) -> bool {
        self.lasting().departed.load(Ordering::Relaxed)
    }
}

/// The endpoints of one scope, ready for picking.
#[derive(Debug)]
pub struct Set {
    /// In the order they were given.
    pub members: Vec<Arc<Member>>,
    pub(crate) selection: Selection,
    /// Their places by address, where the list is long.
    places: Option<Map<SocketAddr, u32>>,
    /// When the endpoints were last counted, in steps of `FRESH`, and whether most were well.
    counted: AtomicU64,
}

impl Set {
    fn new(service: &Service, members: Vec<Arc<Member>>) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.endpoint.weight).collect();
        // The other methods know endpoints by their weights alone.
        let hashed = if service.method == balance::Method::Consistent { members.as_slice() } else { &[] };
        let names: Vec<String> = hashed.iter().map(|member| member.endpoint.address.to_string()).collect();
        let selection = Selection::new(service.method, &names, &weights, &service.seed.to_le_bytes());
        // A table can only be refused to more endpoints than it has slots: 131,071.
        let selection = selection.unwrap_or_else(|_| Selection::Random(balance::random::Random::new(&weights)));
        let searched = !service.affinity.is_zero() && members.len() > SHORT;
        let by_address = || (0_u32..).zip(&members).map(|(place, member)| (member.endpoint.address, place)).collect();
        let places = searched.then(by_address);
        Self { members, selection, places, counted: AtomicU64::default() }
    }

    /// Whether no more than half of the endpoints are ejected.
    ///
    /// A short list is counted each time, a long one only so often: while it is troubled every pick asks.
    pub(crate) fn mostly_well(&self, now: u64) -> bool {
        let step = (now / FRESH + 1) << 1;
        let counted = self.counted.load(Ordering::Relaxed);
        if self.members.len() > SHORT && counted & !1 == step {
            return counted & 1 == 1;
        }
        let candidates = self.members.iter().filter(|member| member.endpoint.weight > 0);
        let (all, ejected) = candidates.fold((0_usize, 0_usize), |(all, ejected), member| {
            (all + 1, ejected + usize::from(member.lasting().health.ejected(now)))
        });
        let well = 2 * ejected <= all;
        self.counted.store(step | u64::from(well), Ordering::Relaxed);
        well
    }

    /// Where the endpoint with an address stands.
    pub(crate) fn place(&self, address: SocketAddr) -> Option<u32> {
        match &self.places {
            Some(places) => places.get(&address).copied(),
            None => self.members.iter().position(|member| member.endpoint.address == address).map(|place| place as u32),
        }
    }
}

/// A Service in force.
#[derive(Debug)]
pub struct Live {
    /// What was asked for, but for the endpoints: those are in the sets.
    pub service: Service,
    /// Its frontends' counters, in their order.
    pub frontends: Vec<Arc<Meter>>,
    sets: [Set; 2],
    pub(crate) memory: Arc<Memory>,
}

impl Live {
    /// A Service in place of the one that had its key.
    pub fn new(mut service: Service, old: Option<&Self>) -> Self {
        let memory = old.map_or_else(Arc::default, |old| Arc::clone(&old.memory));
        let (all, local) = (mem::take(&mut service.all), mem::take(&mut service.local));
        // Nobody is met twice: so it is for most Services of a first hand-over, which spend most of it here.
        let all_new = old.is_none() && local.is_empty();
        let room = if all_new { 0 } else { all.len() };
        let mut known: Map<SocketAddr, Arc<Member>> = Map::with_capacity_and_hasher(room, Seeded::default());
        for member in old.into_iter().flat_map(Self::everyone) {
            known.insert(member.endpoint.address, Arc::clone(member));
        }
        let mut member = |endpoint: Endpoint| {
            let before = known.get(&endpoint.address);
            if let Some(member) = before.filter(|member| member.endpoint == endpoint) {
                return Arc::clone(member);
            }
            let first = before.map(|before| Arc::clone(before.first.as_ref().unwrap_or(before)));
            let address = endpoint.address;
            let member = Arc::new(Member { endpoint, own: Lasting::default(), first, memory: Arc::clone(&memory) });
            if !all_new {
                known.insert(address, Arc::clone(&member));
            }
            member
        };
        let all: Vec<_> = all.into_iter().map(&mut member).collect();
        let local: Vec<_> = local.into_iter().map(&mut member).collect();
        let sets = [Set::new(&service, all), Set::new(&service, local)];
        let frontends = service
            .frontends
            .iter()
            .map(|frontend| {
                let same = |old: &Self| old.service.frontends.iter().position(|each| each == frontend);
                old.and_then(|old| same(old).map(|number| Arc::clone(&old.frontends[number]))).unwrap_or_default()
            })
            .collect();
        Self { service, frontends, sets, memory }
    }

    /// The endpoints that may answer in a scope.
    pub fn members(&self, scope: Scope) -> &[Arc<Member>] {
        &self.set(scope).members
    }

    pub(crate) fn set(&self, scope: Scope) -> &Set {
        &self.sets[scope as usize]
    }

    /// The endpoints of both scopes; one that is in both comes twice.
    pub fn everyone(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.sets.iter().flat_map(|set| &set.members)
    }

    /// The endpoints of both scopes, each once.
    pub fn distinct(&self) -> impl Iterator<Item = &Arc<Member>> {
        let [all, local] = &self.sets;
        let mut seen: hash::Set<*const Lasting> = hash::Set::default();
        if !local.members.is_empty() {
            seen = all.members.iter().map(|member| std::ptr::from_ref(member.lasting())).collect();
        }
        let others = local.members.iter().filter(move |member| !seen.contains(&std::ptr::from_ref(member.lasting())));
        all.members.iter().chain(others)
    }

    /// Tell the endpoints that are not in the Service's successor that they have left. True if there were any.
    pub fn succeed(&self, next: Option<&Self>) -> bool {
        let stay: hash::Set<*const Lasting> =
            next.into_iter().flat_map(Self::everyone).map(|member| std::ptr::from_ref(member.lasting())).collect();
        let mut departed = false;
        for member in self.everyone().filter(|member| !stay.contains(&std::ptr::from_ref(member.lasting()))) {
            member.lasting().departed.store(true, Ordering::Relaxed);
            departed = true;
        }
        departed
    }
}
