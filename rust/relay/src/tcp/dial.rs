// SPDX-License-Identifier: Apache-2.0
//! An endpoint is dialled; when it does not answer, another one is, and none twice for one client.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use super::accept::refuse;
use super::connection::{Connection, Dial, Stage};
use super::{deadlines, Tcp};
use crate::outgoing::{self, kept_source};
use crate::pick::Failure;
use crate::proxy_protocol;
use crate::stats::{self, Flow, Refusal};
use crate::sys::address::Raw;
use crate::sys::socket;
use crate::table::{Endpoint, Found, Protocol};
use crate::worker::context::Context;
use crate::worker::epoll::{Happened, Kind, Place, BOTH_EDGES, READ_EDGE};
use crate::worker::timers::ticks;

impl Tcp {
    /// Dial an endpoint that has not been tried. Where there is none, the client is refused.
    pub(super) fn dial(&mut self, context: &mut Context, place: Place) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        if let Err(refusal) = dial_next(connection, context, place) {
            if let Some(connection) = self.connections.remove(place) {
                context.count(self.connections.len());
                refuse(context, &connection.client, refusal);
            }
            return;
        }
        let due = deadlines::due(connection, &context.shared.config.timeouts, &context.clock);
        deadlines::arm(connection, place, &mut self.wheel, due);
    }

    /// The endpoint that is being dialled has answered.
    pub(super) fn dial_happened(&mut self, context: &mut Context, place: Place, what: Happened) {
        if what.broken() || what.shut() {
            self.attempt_failed(context, place, Failure::Refused);
        } else if what.writable() {
            self.open(context, place, what);
        }
    }

    /// It has not, in the time it had.
    pub(super) fn attempt_timed_out(&mut self, context: &mut Context, place: Place) {
        self.attempt_failed(context, place, Failure::TimedOut);
    }

    fn attempt_failed(&mut self, context: &mut Context, place: Place, failure: Failure) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        connection.endpoint = None;
        if let Some(member) = connection.dial.as_mut().and_then(|dial| dial.member.take()) {
            stats::failed(context.index, &member, failure);
            context.picker.failed(&member, failure, context.clock.now);
        }
        self.dial(context, place);
    }

    fn open(&mut self, context: &mut Context, place: Place, what: Happened) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        let Some(dial) = connection.dial.take() else { return };
        let Dial { client, dialled, attempted, member: Some(member), found: Some(found), .. } = *dial else { return };
        context.picker.opened(&member, context.clock.now);
        if member.departed() {
            if let Some(drain) = context.shared.config.timeouts.drain {
                connection.leave = context.clock.tick + ticks(drain);
            }
        }
        let waited = context.clock.now.saturating_duration_since(attempted);
        connection.flow = Some(Flow::opened(context.index, &found, member, waited));
        connection.stage = Stage::Open;
        connection.opened = context.clock.now;
        connection.active = context.clock.tick;
        let (up, down) = connection.up_and_down();
        if found.live.service.proxy_protocol {
            up.tail = [&proxy_protocol::header(client, dialled)[..], &up.tail].concat().into();
        }
        let hasty = !up.tail.is_empty();
        up.writable = true;
        down.writable = true;
        down.readable = what.readable();
        down.ending = what.ending();
        connection.hasty = hasty;
        self.work(context, place);
        // Only now: until the endpoint was there, nothing the client did could have been dealt with.
        if let Some(connection) = self.connections.get_mut(place) {
            let flags = if connection.watched { BOTH_EDGES } else { READ_EDGE };
            if context.epoll.add(&connection.client, flags, Kind::Client, place).is_err() {
                self.end(context, place, stats::End::Drained, true);
            }
        }
    }
}

fn dial_next(connection: &mut Connection, context: &mut Context, place: Place) -> Result<(), Refusal> {
    let Some(dial) = connection.dial.as_mut() else { return Err(Refusal::Undialled) };
    let config = &context.shared.config;
    loop {
        let elapsed = context.clock.now.saturating_duration_since(dial.began);
        if dial.tried.len() >= config.attempts || elapsed >= config.timeouts.dial {
            return Err(Refusal::Undialled);
        }
        // The table in force now: an endpoint that has left since the client came is not dialled.
        let table = context.shared.table.load();
        let found = table.find(Protocol::Tcp, dial.dialled).ok_or(Refusal::Unknown)?;
        let picked = context.picker.pick(&found.live, dial.scope, dial.client, &dial.tried, context.clock.now);
        let member = picked.ok_or(if dial.tried.is_empty() { Refusal::NoEndpoint } else { Refusal::Undialled })?;
        dial.tried.push(member.endpoint.address);
        dial.attempted = context.clock.now;
        let early = found.live.service.proxy_protocol || !connection.ways[0].tail.is_empty();
        let keep = config.transparent && found.live.service.keep_source;
        let source = keep.then(|| kept_source(dial.client.ip(), &member.endpoint)).flatten();
        match start(&member.endpoint, source, config.mark, early) {
            Ok(endpoint) => {
                context.epoll.add(&endpoint, BOTH_EDGES, Kind::Endpoint, place).map_err(|_| Refusal::Descriptors)?;
                connection.endpoint = Some(endpoint);
                dial.member = Some(member);
                dial.found = Some(Found::clone(found));
                return Ok(());
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                return Err(Refusal::Descriptors)
            }
            Err(error) => {
                stats::failed(context.index, &member, Failure::Refused);
                // Having no port left to dial from is not the endpoint's fault.
                if error.raw_os_error() != Some(libc::EADDRNOTAVAIL) {
                    context.picker.failed(&member, Failure::Refused, context.clock.now);
                }
            }
        }
    }
}

fn start(endpoint: &Endpoint, source: Option<IpAddr>, mark: u32, early: bool) -> io::Result<OwnedFd> {
    let socket = outgoing::open(libc::SOCK_STREAM, endpoint, source, mark)?;
    if early {
        // The end of the handshake then waits for the request, which is sent as soon as the endpoint answers.
        socket::set_option(&socket, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 0)?;
    }
    socket::connect(&socket, &Raw::plain(endpoint.address))?;
    Ok(socket)
}
