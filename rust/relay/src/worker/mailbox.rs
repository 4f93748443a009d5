// SPDX-License-Identifier: Apache-2.0
//! How other threads speak to a worker: a list of messages and a descriptor that wakes it.

use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{io, mem};

use crate::listen::Bound;
use crate::sys::event;
use crate::tcp::connection::Connection;

/// What a worker is told.
#[derive(Debug)]
pub enum Message {
    /// The first table is there: take clients.
    Open,
    /// Endpoints have left the table.
    Departures,
    /// Answer with copies of the sockets, for another process.
    Share(Sender<Vec<Bound>>),
    /// Take no new clients; those there are have this long.
    Drain(Duration),
    /// Take over a connection.
    Adopt(Box<Connection>),
    /// Drop everything and leave.
    Stop,
    /// Panic, as no worker should.
    #[cfg(test)]
    Panic,
}

/// One worker's mailbox.
#[derive(Debug)]
pub struct Mailbox {
    /// Readable while there is a message.
    pub bell: OwnedFd,
    /// None once the worker has gone: what is sent then is dropped, and whoever waits for an answer sees that.
    messages: Mutex<Option<Vec<Message>>>,
}

impl Mailbox {
    /// An empty one.
    pub fn open() -> io::Result<Self> {
        Ok(Self { bell: event::open()?, messages: Mutex::new(Some(Vec::new())) })
    }

    /// Leave a message. It comes back where nobody reads any more.
    pub fn send(&self, message: Message) -> Option<Message> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(messages) = messages.as_mut() else { return Some(message) };
        messages.push(message);
        event::signal(&self.bell);
        None
    }

    /// Take what is there.
    pub fn take(&self) -> Vec<Message> {
        event::clear(&self.bell);
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.as_mut().map(mem::take).unwrap_or_default()
    }

    /// Nobody reads it any more.
    pub fn close(&self) {
        *self.messages.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
