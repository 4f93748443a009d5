// SPDX-License-Identifier: Apache-2.0
//! Which endpoint a client gets. One picker a worker: what it learns of an endpoint it tells nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::table::{Live, Member, Scope};

/// How a dial ended without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The endpoint, or a router before it, said no.
    Refused,
    /// Nobody said anything within the attempt's time.
    TimedOut,
}

/// A worker's choice.
#[derive(Debug, Default)]
pub struct Picker {
    turn: usize,
}

impl Picker {
    /// An endpoint for a client that has not been tried for it, if there is one.
    pub fn pick(
        &mut self,
        live: &Live,
        scope: Scope,
        _client: SocketAddr,
        tried: &[SocketAddr],
        _now: Instant,
    ) -> Option<Arc<Member>> {
        let members = live.members(scope);
        self.turn = self.turn.wrapping_add(1);
        let usable = |member: &&Arc<Member>| member.endpoint.weight > 0 && !tried.contains(&member.endpoint.address);
        let turn = self.turn.checked_rem(members.len())?;
        let (before, after) = members.split_at(turn);
        after.iter().chain(before).find(usable).map(Arc::clone)
    }

    /// An endpoint did not take a connection.
    pub fn failed(&mut self, _member: &Arc<Member>, _failure: Failure, _now: Instant) {}

    /// An endpoint took a connection.
    pub fn opened(&mut self, _member: &Arc<Member>, _now: Instant) {}
}
