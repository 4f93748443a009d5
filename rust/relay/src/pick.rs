// SPDX-License-Identifier: Apache-2.0
//! Which endpoint a client gets: the one it had, if its Service keeps clients, else the one the Service's method says.
//!
//! - `affinity`: which endpoint each client had; `health`: which endpoints are left alone for having failed
//! - `memory`: what all workers know of a Service's picks, these two among it
//!
//! Endpoints that were tried already are passed over, and those that are ejected, unless that is more than half of them:
//! when everything fails it is the network or the Service that does, and leaving endpoints alone would not mend it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use balance::hash::{client as hash_of, mix};
use balance::Situation;

use crate::hash::seed;
use crate::table::{Live, Member, Scope, Set};

use health::Admission;

pub mod affinity;
pub mod health;
pub mod memory;

/// Races for an ejected endpoint's trial that a pick may lose before it takes what it gets.
const RACES: usize = 4;

/// How a dial ended without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The endpoint, or a router before it, said no.
    Refused,
    /// Nobody said anything within the attempt's time.
    TimedOut,
}

/// A worker's choice. What it learns of an endpoint it shares with the others.
#[derive(Debug)]
pub struct Picker {
    random: u64,
}

/// One pick's circumstances.
struct Pick<'a> {
    random: Cell<u64>,
    live: &'a Live,
    set: &'a Set,
    scope: Scope,
    client: SocketAddr,
    tried: &'a [SocketAddr],
    now: u64,
    /// Some endpoints are ejected, and they are few enough.
    ejecting: bool,
}

impl Default for Picker {
    fn default() -> Self {
        static BORN: AtomicU64 = AtomicU64::new(1);
        Self { random: mix(seed(), BORN.fetch_add(1, Ordering::Relaxed)) }
    }
}

impl Picker {
    /// An endpoint for a client that has not been tried for it, if there is one.
    pub fn pick(
        &mut self,
        live: &Live,
        scope: Scope,
        client: SocketAddr,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Option<Arc<Member>> {
        let set = live.set(scope);
        let moment = health::milliseconds(now);
        let ejecting = live.memory.troubled(moment) && set.mostly_well(moment);
        let pick = Pick { random: Cell::new(self.random), live, set, scope, client, tried, now: moment, ejecting };
        let picked = if live.service.affinity.is_zero() { pick.any() } else { pick.bound(now) };
        self.random = pick.random.get();
        let picked = picked?;
        if !tried.is_empty() {
            live.memory.retried();
        }
        Some(Arc::clone(picked))
    }

    /// An endpoint did not take a connection.
    pub fn failed(&mut self, member: &Arc<Member>, _failure: Failure, now: Instant) {
        if let Some(until) = member.lasting().health.failed(health::milliseconds(now)) {
            member.memory.ejected(until);
        }
    }

    /// An endpoint took a connection.
    pub fn opened(&mut self, member: &Arc<Member>, _now: Instant) {
        member.lasting().health.opened();
    }
}

impl<'a> Pick<'a> {
    /// The endpoint the client has, else one that is the client's from now on.
    fn bound(&self, now: Instant) -> Option<&'a Arc<Member>> {
        let client = (self.client.ip(), self.scope);
        let mut affinity = self.live.memory.affinity();
        let had = affinity.of(client, self.live.service.affinity, now).and_then(|(address, number)| {
            let place = self.set.place(address)?;
            let member = &self.set.members[place as usize];
            let same = member.lasting().number == number && member.endpoint.weight > 0;
            (same && self.usable(place) && self.admits(place)).then_some(member)
        });
        let member = had.or_else(|| self.any())?;
        affinity.bind(client, (member.endpoint.address, member.lasting().number), now);
        Some(member)
    }

    /// The endpoint the Service's method says.
    fn any(&self) -> Option<&'a Arc<Member>> {
        let mut choice = self.set.selection.pick(self)?;
        for _ in 0..RACES {
            if self.admits(choice) {
                break;
            }
            choice = self.set.selection.pick(self).unwrap_or(choice);
        }
        self.set.members.get(choice as usize)
    }

    fn admits(&self, place: u32) -> bool {
        let health = &self.set.members[place as usize].lasting().health;
        // One that is ejected can only be chosen because too many are.
        if health.ejected(self.now) {
            return !self.ejecting;
        }
        let admission = health.admit(self.now);
        if let Admission::Trial(until) = admission {
            self.live.memory.ejected(until);
        }
        admission != Admission::Ejected
    }
}

impl Situation for Pick<'_> {
    fn turn(&self) -> u64 {
        self.live.memory.turn(self.scope)
    }

    fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0xa076_1d64_78bd_642f);
        self.random.set(state);
        mix(mix(state, 0xe703_7ed1_a0b4_28db), state.rotate_left(32))
    }

    fn client(&self) -> u64 {
        hash_of(self.client.ip())
    }

    fn active(&self, endpoint: u32) -> u32 {
        self.set.members[endpoint as usize].lasting().meter.active()
    }

    fn usable(&self, endpoint: u32) -> bool {
        let member = &self.set.members[endpoint as usize];
        let left_alone = self.ejecting && member.lasting().health.ejected(self.now);
        !left_alone && !self.tried.contains(&member.endpoint.address)
    }
}

#[cfg(test)]
mod tests;
