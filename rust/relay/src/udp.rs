// SPDX-License-Identifier: Apache-2.0
//! Datagrams: each client's go to one endpoint, answers leave from the address the client dialled.
//!
//! - `flow`: what is known of one client's datagrams to one address; `flows`: all of them
//! - `control`: what the kernel tells beside a datagram
//! - `runs`: which datagrams leave together; `transmit`: they do
//! - `replies`: from where answers leave; `raw`, `packet`: what no such socket can send

use std::io::{self, ErrorKind, IoSlice};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::listen::Bound;
use crate::pick::Failure;
use crate::stats::{self, End, Refusal, Way};
use crate::sys::address::Raw;
use crate::sys::udp::{send, Batch, Outgoing, MOST};
use crate::table::{Protocol, Scope};
use crate::translated;
use crate::worker::context::Context;
use crate::worker::epoll::{Kind, Place, LEVEL};
use crate::worker::timers::{ticks, Tick};

pub mod control;
mod flow;
mod flows;
mod packet;
mod raw;
mod replies;
pub mod runs;
mod transmit;

use flow::{Key, Question};
use flows::Flows;
use packet::Why;
use raw::Messenger;
use replies::Replies;
use transmit::{each, transmit, Letter};

/// Batches one socket may take before the others have their turn.
const ROUNDS: usize = 4;

/// How long the connection tracker surely remembers a flow that it has translated.
const REMEMBERED: Duration = Duration::from_secs(5);

/// A worker's datagrams.
#[derive(Debug)]
pub(crate) struct Udp {
    sockets: Vec<Bound>,
    watching: bool,
    flows: Flows,
    replies: Replies,
    messenger: Messenger,
    translated: translated::Datagrams,
    batch: Batch,
    /// Which datagrams of the batch belong to which flow.
    sorted: Vec<(Place, usize)>,
    /// When whatever is left will end, once the relay drains.
    drained: Option<Tick>,
}

impl Udp {
    /// With its sockets, which are not watched yet.
    pub fn new(context: &Context, sockets: Vec<Bound>) -> Self {
        Self {
            sockets,
            watching: false,
            flows: Flows::new(context),
            replies: Replies::default(),
            messenger: Messenger::default(),
            translated: translated::Datagrams::default(),
            batch: Batch::default(),
            sorted: Vec::with_capacity(MOST),
            drained: None,
        }
    }

    /// There is a table: serve.
    pub fn open_door(&mut self, context: &Context) {
        for (index, bound) in self.sockets.iter().enumerate() {
            let place = Place { index: index as u32, generation: 0 };
            // A socket that cannot be watched is one fewer that serves; its siblings of other workers do not know.
            let _ = context.epoll.add(&bound.socket, LEVEL, Kind::Datagrams, place);
        }
        self.watching = true;
    }

    /// The sockets, as long as clients are taken.
    pub fn sockets(&self) -> &[Bound] {
        if self.drained.is_none() {
            &self.sockets
        } else {
            &[]
        }
    }

    /// Datagrams wait at a port.
    pub fn arrived(&mut self, context: &mut Context, place: Place) {
        for _ in 0..ROUNDS {
            let Some(bound) = self.sockets.get(place.index as usize) else { return };
            let scope = bound.scope;
            let Ok(count) = self.batch.receive(&bound.socket) else { return };
            self.sort(context, scope, count);
            let mut sorted = std::mem::take(&mut self.sorted);
            for together in sorted.chunk_by(|one, other| one.0 == other.0) {
                let which: Vec<usize> = together.iter().map(|&(_, index)| index).collect();
                self.send_up(context, together[0].0, &which, true);
            }
            sorted.clear();
            self.sorted = sorted;
            if count < MOST {
                return;
            }
        }
    }

    /// Find each datagram's flow, and bring those of one flow together, in the order they came.
    fn sort(&mut self, context: &mut Context, scope: Scope, count: usize) {
        let mut last: Option<(Key, Option<Place>)> = None;
        for index in 0..count {
            if self.batch.cut(index) {
                continue;
            }
            let told = control::understand(self.batch.control(index));
            let (Some(client), Some(arrived)) = (self.batch.sender(index), told.dialled) else { continue };
            let key = Key { client, arrived, scope };
            let place = match last {
                Some((before, place)) if before == key => place,
                _ => self.place_of(context, key),
            };
            last = Some((key, place));
            self.sorted.extend(place.map(|place| (place, index)));
        }
        self.sorted.sort_by_key(|(place, _)| place.index);
    }

    /// The flow of a key, opened if need be.
    fn place_of(&mut self, context: &mut Context, key: Key) -> Option<Place> {
        let found = self.flows.find(context, &key);
        if let Some(place) = found.filter(|&place| !self.is_another(context, place)) {
            return Some(place);
        }
        found.and_then(|place| self.flows.end(context, place, End::Idle));
        let dialled = self.translated.dialled(context, key.client, key.arrived, key.scope);
        let opened = self.flows.open(context, key, dialled, Vec::new());
        if let Err(refusal) = opened {
            context.meter().refused(refusal);
            if matches!(refusal, Refusal::NoEndpoint | Refusal::Undialled) {
                self.messenger.tell(key.client, dialled, Why::Port, context.clock.tick);
            }
        }
        opened.ok()
    }

    /// Whether a flow that was silent may not be the one it looks like: the connection tracker forgets whom it translated,
    /// and the client has dialled another frontend from the same port since.
    fn is_another(&mut self, context: &Context, place: Place) -> bool {
        let Some(flow) = self.flows.get_mut(place) else { return false };
        let (Key { client, arrived, scope }, dialled) = (flow.key, flow.dialled);
        let silent = context.clock.tick.saturating_sub(flow.active) > ticks(REMEMBERED);
        dialled != arrived && silent && self.translated.dialled(context, client, arrived, scope) != dialled
    }

    /// Send a client's datagrams to its endpoint; where that has refused earlier ones, to another, once.
    fn send_up(&mut self, context: &mut Context, place: Place, which: &[usize], again: bool) {
        let Some(flow) = self.flows.get_mut(place) else { return };
        flow.active = context.clock.tick;
        let first = !flow.answered && flow.question.is_none() && again;
        if first {
            flow.question = which.first().and_then(|&first| Question::new(self.batch.payload(first)));
        }
        match transmit(flow.socket.as_fd(), &self.batch, which, Letter::default(), &mut flow.segmenting) {
            Ok(bytes) => flow.count.moved(Way::Up, bytes),
            Err(error) => {
                let key = flow.key;
                self.failed(context, place, &error);
                // Of the first datagrams one has been sent to another endpoint by now; later ones were not asked yet.
                if again && !first {
                    if let Some(next) = self.place_of(context, key) {
                        self.send_up(context, next, which, false);
                    }
                }
            }
        }
    }

    /// Something has happened to a flow: its endpoint answers, or refuses.
    pub fn happened(&mut self, context: &mut Context, place: Place) {
        for _ in 0..ROUNDS {
            let Some(flow) = self.flows.get_mut(place) else { return };
            match self.batch.receive(&flow.socket) {
                Ok(count) => {
                    self.send_down(context, place, count);
                    if count < MOST {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The way has a smaller packet size than it had: the kernel knows it now.
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {}
                Err(error) => return self.failed(context, place, &error),
            }
        }
    }

    /// Send an endpoint's answers to the client, from where it had dialled.
    fn send_down(&mut self, context: &mut Context, place: Place, count: usize) {
        let Some(flow) = self.flows.get_mut(place) else { return };
        flow.active = context.clock.tick;
        if !flow.answered {
            flow.answered = true;
            flow.question = None;
            flow.count.first_byte(context.clock.now.saturating_duration_since(flow.opened));
            context.picker.opened(flow.count.member(), context.clock.now);
        }
        let (Key { client, arrived, scope }, dialled) = (flow.key, flow.dialled);
        let which: Vec<usize> = (0..count).collect();
        let sent = if context.shared.config.transparent && arrived == dialled {
            let letter = Letter { to: Some(Raw::plain(client)), from: None };
            match self.replies.of(dialled) {
                Ok(socket) => transmit(socket, &self.batch, &which, letter, &mut flow.segmenting),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    each(&self.batch, &which, |datagram| self.messenger.answer(client, dialled, datagram))
                }
                Err(error) => Err(error),
            }
        } else {
            let from = match arrived.ip() {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            let letter = Letter { to: Some(Raw::mapped(client)), from: Some(from) };
            match self.sockets.iter().find(|bound| bound.scope == scope) {
                Some(bound) => transmit(bound.socket.as_fd(), &self.batch, &which, letter, &mut flow.segmenting),
                // They have been closed: the relay drains.
                None => each(&self.batch, &which, |datagram| self.messenger.answer(client, arrived, datagram)),
            }
        };
        // A client that cannot be reached is one whose datagram is lost.
        flow.count.moved(Way::Down, sent.unwrap_or(0));
    }

    /// An endpoint, or a router before it, has refused a flow's datagrams: ask another one, or tell the client.
    fn failed(&mut self, context: &mut Context, place: Place, error: &io::Error) {
        let Some(ended) = self.flows.end(context, place, End::EndpointReset) else { return };
        stats::failed(context.index, &ended.member, Failure::Refused);
        context.picker.failed(&ended.member, Failure::Refused, context.clock.now);
        if let Some(mut question) = ended.question {
            question.tried.push(ended.member.endpoint.address);
            if let Ok(next) = self.flows.open(context, ended.key, ended.dialled, question.tried.clone()) {
                return self.ask(context, next, question);
            }
        }
        let why = if error.raw_os_error() == Some(libc::ECONNREFUSED) { Why::Port } else { Why::Host };
        self.messenger.tell(ended.key.client, ended.dialled, why, context.clock.tick);
    }

    fn ask(&mut self, context: &mut Context, place: Place, question: Box<Question>) {
        let Some(flow) = self.flows.get_mut(place) else { return };
        let parts = [IoSlice::new(&question.datagram)];
        let sent = send(&flow.socket, &[Outgoing { to: None, from: None, parts: &parts, segment: 0 }]);
        flow.count.moved(Way::Up, question.datagram.len() as u64);
        flow.question = Some(question);
        if let Err(error) = sent {
            // It ends: each endpoint is asked once, and only so many are.
            self.failed(context, place, &error);
        }
    }

    /// Something has left the table: its flows end at once, and the sockets they were answered from are closed.
    pub fn departures(&mut self, context: &Context) {
        let table = context.shared.table.load();
        self.flows.end_departed(context, &table);
        self.replies.keep(|dialled| table.find(Protocol::Udp, dialled).is_some());
    }

    /// Take no new clients; end what is left after this long.
    pub fn drain(&mut self, context: &Context, deadline: Duration) {
        self.drained = Some(context.clock.tick.saturating_add(ticks(deadline)).max(1));
        if std::mem::take(&mut self.watching) {
            for bound in &self.sockets {
                // Another process may hold it, so that closing it here would not end the watch.
                let _ = context.epoll.remove(&bound.socket);
            }
        }
        if context.shared.config.transparent {
            self.sockets.clear();
        }
    }

    /// End what is due.
    pub fn visit(&mut self, context: &Context) {
        self.flows.visit(context);
        if self.drained.is_some_and(|tick| tick <= context.clock.tick) {
            self.stop(context);
        }
    }

    /// The tick of the next visit.
    pub fn next_visit(&self) -> Option<Tick> {
        let drained = self.drained.filter(|_| self.flows.len() > 0);
        self.flows.next_visit().into_iter().chain(drained).min()
    }

    /// End everything.
    pub fn stop(&mut self, context: &Context) {
        self.flows.end_if(context, End::Drained, |_| true);
        self.replies.keep(|_| false);
    }
}
