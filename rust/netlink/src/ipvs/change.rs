// SPDX-License-Identifier: Apache-2.0
//! Changes virtual and real servers: many commands in one datagram, each with a verdict of its own.

use super::value::{Key, Real, Server};
use super::{wire, Ipvs};
use crate::message::Body;
use crate::Result;

/// Commands sent at once: what one datagram and the queue of refusals easily hold.
const PIECE: usize = 256;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Add a virtual server.
    AddServer(Server),
    /// Change one in place.
    SetServer(Server),
    /// Delete one with its real servers.
    DeleteServer(Key),
    /// Add a real server.
    AddReal(Key, Real),
    /// Change one in place.
    SetReal(Key, Real),
    /// Delete one.
    DeleteReal(Key, Real),
}

/// An operation the kernel did not carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which one, counted from 0.
    pub index: usize,
    /// The error number.
    pub errno: i32,
    /// The kernel's own sentence, where it has one.
    pub text: Option<String>,
}

impl Operation {
    fn command(&self) -> u8 {
        match self {
            Self::AddServer(_) => wire::NEW_SERVICE,
            Self::SetServer(_) => wire::SET_SERVICE,
            Self::DeleteServer(_) => wire::DELETE_SERVICE,
            Self::AddReal(..) => wire::NEW_DESTINATION,
            Self::SetReal(..) => wire::SET_DESTINATION,
            Self::DeleteReal(..) => wire::DELETE_DESTINATION,
        }
    }

    fn write(&self, body: &mut Body<'_>) {
        match self {
            Self::AddServer(server) | Self::SetServer(server) => body.nest(wire::SERVICE, |body| server.write(body)),
            Self::DeleteServer(key) => body.nest(wire::SERVICE, |body| key.write(body)),
            Self::AddReal(key, real) | Self::SetReal(key, real) => {
                body.nest(wire::SERVICE, |body| key.write(body));
                body.nest(wire::DESTINATION, |body| real.write(body));
            }
            Self::DeleteReal(key, real) => {
                body.nest(wire::SERVICE, |body| key.write(body));
                body.nest(wire::DESTINATION, |body| real.write_name(body));
            }
        }
    }
}

impl Ipvs {
    /// Carry out operations in order. One that is refused does not stop those behind it.
    pub fn apply(&mut self, operations: &[Operation]) -> Result<Vec<Refusal>> {
        let mut refusals = Vec::new();
        for (number, piece) in operations.chunks(PIECE).enumerate() {
            let first = self.socket.sequences(piece.len() as u32);
            let last = first + piece.len() as u32 - 1;
            let mut bytes = Vec::with_capacity(piece.len() * 160);
            for (sequence, operation) in (first..).zip(piece) {
                // Only the last is acknowledged; the others speak up when they fail.
                let flags = if sequence == last { libc::NLM_F_ACK as u16 } else { 0 };
                self.append(&mut bytes, operation.command(), flags, sequence, |body| operation.write(body));
            }
            for (sequence, verdict) in self.socket.request(&bytes, last, |_| Ok(()))? {
                let index = number * PIECE + (sequence - first) as usize;
                refusals.push(Refusal { index, errno: verdict.errno, text: verdict.text });
            }
        }
        Ok(refusals)
    }
}
