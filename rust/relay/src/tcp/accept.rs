// SPDX-License-Identifier: Apache-2.0
//! Clients come. One for whom there is nothing is reset at once: refused, not left waiting.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::connection::{Connection, Dial, Ending};
use super::{Tcp, Tick};
use crate::listen::Bound;
use crate::stats::Refusal;
use crate::sys::{event, socket, stream};
use crate::table::Scope;
use crate::translated;
use crate::worker::context::Context;
use crate::worker::epoll::{Kind, Place, LEVEL, PAUSED};

/// Clients taken before others have their turn.
const BATCH: usize = 8;

/// Clients taken from a queue that is to be closed. More can wait there only while another relay takes from it, too.
const QUEUE: usize = 4096;

/// Clients turned away at a time when the process has no descriptor for them.
const TURNED_AWAY: usize = 64;

/// The listeners, and what is kept for the day when there are no descriptors.
#[derive(Debug)]
pub struct Door {
    listeners: Vec<Bound>,
    /// Given up to accept a client that is only to be reset.
    spare: Option<OwnedFd>,
    /// While clients wait in the kernel's queue because there is no descriptor for them: when to try again.
    opens: Option<Tick>,
}

impl Door {
    /// With its listeners, shut.
    pub fn new(listeners: Vec<Bound>) -> io::Result<Self> {
        Ok(Self { listeners, spare: Some(event::open()?), opens: None })
    }

    /// The listeners.
    pub fn listeners(&self) -> &[Bound] {
        &self.listeners
    }

    /// When it opens again, if it is shut.
    pub fn opens(&self) -> Option<Tick> {
        self.opens
    }

    /// Watch the listeners. They stay readable while anybody waits, so that taking one client costs one call.
    fn watch(&mut self, context: &Context) {
        self.opens = None;
        let watched = self.each(|listener, place| {
            let change = context.epoll.change(listener, LEVEL, Kind::Listener, place);
            change.or_else(|_| context.epoll.add(listener, LEVEL, Kind::Listener, place))
        });
        if watched.is_err() {
            self.shut(context);
        }
    }

    fn each(&self, watch: impl Fn(&OwnedFd, Place) -> io::Result<()>) -> io::Result<()> {
        let mut places = (0..).map(|index| Place { index, generation: 0 });
        self.listeners.iter().zip(&mut places).try_for_each(|(listener, place)| watch(&listener.socket, place))
    }

    /// Let clients wait in the kernel's queue for a tick: asking for them again and again would help nobody.
    fn shut(&mut self, context: &Context) {
        // A listener that cannot be paused is asked again, which is only slower.
        let _ = self.each(|listener, place| context.epoll.change(listener, PAUSED, Kind::Listener, place));
        self.opens = Some(context.clock.tick + 1);
    }
}

impl Tcp {
    /// Take clients from now on.
    pub fn open_door(&mut self, context: &Context) {
        self.door.watch(context);
    }

    /// Clients wait at a listener.
    pub fn accept(&mut self, context: &mut Context, place: Place) {
        self.accept_some(context, place.index as usize, BATCH);
    }

    /// Take up to so many clients.
    fn accept_some(&mut self, context: &mut Context, index: usize, most: usize) {
        for _ in 0..most {
            let Some(listener) = self.door.listeners.get(index) else { return };
            let scope = listener.scope;
            match socket::accept(&listener.socket) {
                Ok((client, Some(address))) => self.admit(context, client, address, scope),
                Ok((_, None)) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return,
                    Some(libc::EMFILE | libc::ENFILE) => return self.turn_away(context, index),
                    // The client gave up while it waited.
                    Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO) => {}
                    // No memory, or a network that has no words for it: neither is better at once.
                    _ => return self.door.shut(context),
                },
            }
        }
    }

    /// There is no descriptor left: reset who waits, and pause before the next try.
    fn turn_away(&mut self, context: &Context, index: usize) {
        if self.door.spare.take().is_some() {
            let listener = &self.door.listeners[index].socket;
            for _ in 0..TURNED_AWAY {
                match socket::accept(listener) {
                    Ok((client, _)) => refuse(context, &client, Refusal::Descriptors),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {}
                }
            }
            self.door.spare = event::open().ok();
        }
        self.door.shut(context);
    }

    /// A connection has ended, and with it descriptors are free: a door that is shut may be opened.
    pub(super) fn reopen(&mut self, context: &Context) {
        if self.door.opens.is_some() {
            if self.door.spare.is_none() {
                self.door.spare = event::open().ok();
            }
            self.door.watch(context);
        }
    }

    pub(super) fn reopen_when_due(&mut self, context: &Context) {
        if self.door.opens.is_some_and(|tick| tick <= context.clock.tick) {
            self.reopen(context);
        }
    }

    /// Serve who waits already, and listen no more.
    pub(super) fn close_door(&mut self, context: &mut Context) {
        for index in 0..self.door.listeners.len() {
            self.accept_some(context, index, QUEUE);
        }
        for listener in std::mem::take(&mut self.door.listeners) {
            // Another process may hold it, so that closing it here would not end the watch.
            let _ = context.epoll.remove(&listener.socket);
        }
        self.door.opens = None;
    }

    fn admit(&mut self, context: &mut Context, client: OwnedFd, address: SocketAddr, scope: Scope) {
        if context.connections() >= context.shared.config.max_connections {
            return refuse(context, &client, Refusal::Full);
        }
        let Ok(Some(arrived)) = socket::own_address(&client) else {
            return refuse(context, &client, Refusal::Unknown);
        };
        let dialled = translated::connection(context, &client, arrived, scope);
        let now = context.clock.now;
        let dial = Dial {
            client: address,
            dialled,
            scope,
            began: now,
            attempted: now,
            member: None,
            found: None,
            tried: Vec::new(),
        };
        let mut connection = Connection::new(client, dial, context.clock.tick);
        if self.read_early(&mut connection) {
            let place = self.connections.insert(connection);
            context.count(self.connections.len());
            self.dial(context, place);
        }
    }

    /// Read what the client has sent by now. With a request in hand the endpoint gets it together with the end of its
    /// handshake, which is one packet and one waking less. False: the client is gone already.
    fn read_early(&mut self, connection: &mut Connection) -> bool {
        let up = &mut connection.ways[0];
        match stream::receive(&connection.client, &mut self.tools.scratch) {
            Ok(0) => up.ended = Some(Ending::Finished),
            Ok(count) => up.tail = self.tools.scratch[..count].into(),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
        true
    }
}

/// Reset a client.
pub fn refuse(context: &Context, client: &OwnedFd, refusal: Refusal) {
    context.meter().refused(refusal);
    // It fails only where the client has left already. The caller closes.
    let _ = socket::reset_when_closed(client);
}
