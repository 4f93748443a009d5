// SPDX-License-Identifier: Apache-2.0
//! A worker: one thread, one loop over what has happened to its descriptors. It shares nothing hot with its siblings.
//!
//! - `mailbox`: what other threads tell it

use std::sync::Arc;

use crate::listen::Bound;
use crate::relay::Shared;
use crate::sys::epoll;

pub mod mailbox;

use mailbox::{Mailbox, Message};

pub(crate) struct Worker {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    sockets: Vec<Bound>,
    epoll: std::os::fd::OwnedFd,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox>, sockets: Vec<Bound>) -> std::io::Result<Self> {
        let epoll = epoll::open()?;
        epoll::control(&epoll, libc::EPOLL_CTL_ADD, &mailbox.bell, libc::EPOLLIN as u32, 0)?;
        Ok(Self { shared, mailbox, sockets, epoll })
    }

    pub(crate) fn run(&mut self) {
        let mut events = [epoll::NOTHING; 256];
        loop {
            let _ = epoll::wait(&self.epoll, &mut events, -1);
            let _ = self.shared.table.load();
            for message in self.mailbox.take() {
                match message {
                    Message::Stop => return,
                    Message::Drain(_) => self.sockets.clear(),
                    Message::Share(answer) => {
                        let copy = |bound: &Bound| {
                            let socket = bound.socket.try_clone().ok()?;
                            Some(Bound { protocol: bound.protocol, scope: bound.scope, socket })
                        };
                        let _ = answer.send(self.sockets.iter().filter_map(copy).collect());
                    }
                    Message::Departures => {}
                    #[cfg(test)]
                    Message::Panic => panic!("a worker was told to"),
                }
            }
        }
    }
}
