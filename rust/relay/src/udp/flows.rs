// SPDX-License-Identifier: Apache-2.0
//! A worker's flows: found, opened, ended.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::flow::{Flow, Key, Question};
use crate::hash::Map;
use crate::outgoing::{self, kept_source};
use crate::pick::Failure;
use crate::stats::{self, End, Refusal};
use crate::sys::address::Raw;
use crate::sys::{process, socket};
use crate::table::{Endpoint, Member, Protocol, Table};
use crate::worker::context::Context;
use crate::worker::epoll::{Kind, Place, LEVEL};
use crate::worker::slab::Slab;
use crate::worker::timers::{ticks, Tick, Wheel};

/// Flows looked at to find one that is given up for a new one.
const LOOKED_AT: usize = 64;

/// What is left of a flow.
pub struct Ended {
    pub key: Key,
    pub dialled: SocketAddr,
    pub member: Arc<Member>,
    pub question: Option<Box<Question>>,
}

/// The flows.
#[derive(Debug)]
pub struct Flows {
    living: Slab<Flow>,
    places: Map<Key, Place>,
    wheel: Wheel,
    /// Flows at one time.
    most: usize,
    /// Where to look next for one to give up.
    cursor: usize,
}

impl Flows {
    /// None yet.
    pub fn new(context: &Context) -> Self {
        let config = &context.shared.config;
        // Half of the descriptors are for connections: datagrams are sent under any address, and would take them all.
        let descriptors = process::descriptors().unwrap_or(1024) / 2;
        let most = config.max_connections.min(descriptors) / config.worker_count().max(1);
        Self { living: Slab::default(), places: Map::default(), wheel: Wheel::default(), most: most.max(1), cursor: 0 }
    }

    /// The flow of a key, if there is one and its endpoint still serves.
    pub fn find(&mut self, context: &Context, key: &Key) -> Option<Place> {
        let place = *self.places.get(key)?;
        if self.living.get_mut(place)?.count.member().departed() {
            self.end(context, place, End::Drained);
            return None;
        }
        Some(place)
    }

    /// The flow at a place.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut Flow> {
        self.living.get_mut(place)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.living.len()
    }

    /// Open a flow to an endpoint that is none of those that were tried.
    pub fn open(
        &mut self,
        context: &mut Context,
        key: Key,
        dialled: SocketAddr,
        mut tried: Vec<SocketAddr>,
    ) -> Result<Place, Refusal> {
        let table = context.shared.table.load_full();
        let found = table.find(Protocol::Udp, dialled).ok_or(Refusal::Unknown)?;
        if self.living.len() >= self.most {
            self.give_one_up(context);
        }
        loop {
            if tried.len() >= context.shared.config.attempts {
                return Err(Refusal::Undialled);
            }
            let picked = context.picker.pick(&found.live, key.scope, key.client, &tried, context.clock.now);
            let member = picked.ok_or(if tried.is_empty() { Refusal::NoEndpoint } else { Refusal::Undialled })?;
            let keep = found.live.service.keep_source;
            match self.connect(context, &key, &member.endpoint, keep) {
                Ok(socket) => {
                    let count = stats::Flow::begun(context.index, found, member);
                    return self.keep(context, key, dialled, socket, count);
                }
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                    return Err(Refusal::Descriptors);
                }
                Err(error) => {
                    stats::failed(context.index, &member, Failure::Refused);
                    // Having no port left to send from is not the endpoint's fault.
                    if error.raw_os_error() != Some(libc::EADDRNOTAVAIL) {
                        context.picker.failed(&member, Failure::Refused, context.clock.now);
                    }
                    tried.push(member.endpoint.address);
                }
            }
        }
    }

    fn connect(&mut self, context: &Context, key: &Key, endpoint: &Endpoint, keep: bool) -> io::Result<OwnedFd> {
        let source = keep.then(|| kept_source(key.client.ip(), endpoint)).flatten();
        let open = || outgoing::open(libc::SOCK_DGRAM, endpoint, source, context.shared.config.mark);
        let socket = open().or_else(|error| match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) if self.give_one_up(context) => open(),
            _ => Err(error),
        })?;
        // A kernel that does not merge datagrams delivers each by itself.
        let _ = socket::set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
        socket::connect(&socket, &Raw::plain(endpoint.address))?;
        Ok(socket)
    }

    fn keep(
        &mut self,
        context: &Context,
        key: Key,
        dialled: SocketAddr,
        socket: OwnedFd,
        count: stats::Flow,
    ) -> Result<Place, Refusal> {
        let clock = &context.clock;
        let flow = Flow {
            key,
            dialled,
            socket,
            count,
            opened: clock.now,
            active: clock.tick,
            armed: 0,
            answered: false,
            segmenting: true,
            question: None,
        };
        let place = self.living.insert(flow);
        self.places.insert(key, place);
        context.count_flows(self.living.len());
        let due = clock.tick + ticks(context.shared.config.timeouts.udp_idle);
        if let Some(flow) = self.living.get_mut(place) {
            flow.armed = self.wheel.arm(place, due);
            if context.epoll.add(&flow.socket, LEVEL, Kind::Flow, place).is_ok() {
                return Ok(place);
            }
        }
        self.end(context, place, End::Drained);
        Err(Refusal::Descriptors)
    }

    /// End a flow: its socket is closed.
    pub fn end(&mut self, context: &Context, place: Place, end: End) -> Option<Ended> {
        let Flow { key, dialled, count, question, .. } = self.living.remove(place)?;
        self.places.remove(&key);
        context.count_flows(self.living.len());
        let member = Arc::clone(count.member());
        count.closed(end);
        Some(Ended { key, dialled, member, question })
    }

    /// End those of which something is so.
    pub fn end_if(&mut self, context: &Context, end: End, so: impl Fn(&Flow) -> bool) {
        let places: Vec<Place> = self.living.places().filter(|(_, flow)| so(flow)).map(|(place, _)| place).collect();
        for place in places {
            self.end(context, place, end);
        }
    }

    /// End those whose endpoint has left, or whose frontend is another Service's or nobody's by now.
    pub fn end_departed(&mut self, context: &Context, table: &Table) {
        self.end_if(context, End::Drained, |flow| {
            let found = table.find(Protocol::Udp, flow.dialled);
            flow.count.member().departed() || !found.is_some_and(|found| flow.count.is_of(found))
        });
    }

    /// End those that nobody has used for too long.
    pub fn visit(&mut self, context: &Context) {
        let idle = ticks(context.shared.config.timeouts.udp_idle);
        while let Some((tick, mut places)) = self.wheel.due(context.clock.tick) {
            for place in places.drain(..) {
                let Some(flow) = self.living.get_mut(place).filter(|flow| flow.armed == tick) else { continue };
                let due = flow.active.saturating_add(idle);
                if due <= context.clock.tick {
                    self.end(context, place, End::Idle);
                } else {
                    flow.armed = self.wheel.arm(place, due);
                }
            }
            self.wheel.give(tick, places);
        }
    }

    /// The tick of the next visit.
    pub fn next_visit(&self) -> Option<Tick> {
        self.wheel.next()
    }

    /// Give up one that is not answered, or else one that is not used: of some, the one it matters least to.
    fn give_one_up(&mut self, context: &Context) -> bool {
        if self.cursor >= self.living.room() {
            self.cursor = 0;
        }
        let some = self.living.places_from(self.cursor).chain(self.living.places()).take(LOOKED_AT);
        let least = some.min_by_key(|(_, flow)| (flow.answered, flow.active)).map(|(place, _)| place);
        self.cursor += LOOKED_AT;
        least.is_some_and(|place| self.end(context, place, End::Drained).is_some())
    }
}
