// SPDX-License-Identifier: Apache-2.0
//! A worker: one thread, one loop over what has happened to its descriptors. It shares nothing hot with its siblings.
//!
//! - `epoll`: what it waits for; `timers`: its clock and whom it visits when
//! - `home`: the CPU it stays on
//! - `mailbox`: what other threads tell it
//! - `slab`: where it keeps things; `context`: what its parts use

use std::io;
use std::sync::Arc;

use crate::listen::Bound;
use crate::relay::Shared;
use crate::table::Protocol;
use crate::tcp::Tcp;
use crate::udp::Udp;

pub mod context;
pub mod epoll;
pub mod home;
pub mod mailbox;
pub mod slab;
pub mod timers;

use context::Context;
use epoll::{Batch, Kind, Place, LEVEL};
use home::Home;
use mailbox::Message;

pub(crate) struct Worker {
    context: Context,
    tcp: Tcp,
    udp: Udp,
    home: Home,
}

impl Worker {
    pub fn new(index: usize, shared: Arc<Shared>, sockets: Vec<Bound>, home: Home) -> io::Result<Self> {
        let context = Context::new(index, shared)?;
        context.epoll.add(&context.lane().mailbox.bell, LEVEL, Kind::Mailbox, Place { index: 0, generation: 0 })?;
        let (listeners, datagrams) = sockets.into_iter().partition(|bound| bound.protocol == Protocol::Tcp);
        let tcp = Tcp::new(listeners)?;
        let udp = Udp::new(&context, datagrams);
        Ok(Self { context, tcp, udp, home })
    }

    /// Work until told to stop.
    pub fn run(&mut self) {
        let mut batch = Batch::default();
        let mut running = true;
        self.home.settle();
        while running {
            let wait = self.patience();
            let events = self.context.epoll.wait(&mut batch, wait);
            self.context.clock.read();
            for (kind, place, what) in events {
                match kind {
                    Kind::Mailbox => running &= self.read_mail(),
                    Kind::Listener => self.tcp.accept(&mut self.context, place),
                    Kind::Client | Kind::Endpoint => self.tcp.happened(&mut self.context, kind, place, what),
                    Kind::Datagrams => self.udp.arrived(&mut self.context, place),
                    Kind::Flow => self.udp.happened(&mut self.context, place),
                }
            }
            self.tcp.resume(&mut self.context);
            self.tcp.visit(&mut self.context);
            self.udp.visit(&self.context);
            self.context.count_pipes(self.tcp.pipes());
            self.home.consider(self.tcp.spliced(), self.context.clock.tick);
        }
    }

    /// Reset every connection, so that nobody waits for a worker that has left.
    pub fn stop(&mut self) {
        self.tcp.stop(&self.context);
        self.udp.stop(&self.context);
        self.context.count_pipes(self.tcp.pipes());
    }

    /// Milliseconds until something must be done though nothing happens.
    fn patience(&self) -> i32 {
        if self.tcp.busy() {
            return 0;
        }
        let next = self.tcp.next_visit().into_iter().chain(self.udp.next_visit()).min();
        next.map_or(-1, |tick| self.context.clock.until(tick))
    }

    /// Do what other threads have asked for. False: leave.
    fn read_mail(&mut self) -> bool {
        for message in self.context.lane().mailbox.take() {
            match message {
                Message::Stop => return false,
                Message::Open => {
                    self.tcp.open_door(&self.context);
                    self.udp.open_door(&self.context);
                }
                Message::Departures => {
                    self.tcp.departures(&self.context);
                    self.udp.departures(&self.context);
                }
                Message::Drain(deadline) => {
                    self.tcp.drain(&mut self.context, deadline);
                    self.udp.drain(&self.context, deadline);
                }
                Message::Adopt(connection) => self.tcp.adopt(&self.context, *connection),
                Message::Share(answer) => {
                    let all = self.tcp.listeners().iter().chain(self.udp.sockets());
                    // Nobody waits for the answer any more: then nobody misses it.
                    let _ = answer.send(all.filter_map(Bound::copy).collect());
                }
                #[cfg(test)]
                Message::Panic => panic!("told to"),
            }
        }
        true
    }
}
