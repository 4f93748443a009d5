// SPDX-License-Identifier: Apache-2.0
//! Bulk is shared out. Who accepts a client cannot know what will come of it; a worker that got several long transfers
//! while a sibling has none passes some on. Each connection moves once at most, when it proves to be bulk.

use std::sync::atomic::Ordering;

use super::connection::Connection;
use super::Tcp;
use crate::stats::End;
use crate::worker::context::Context;
use crate::worker::epoll::{Kind, Place, BOTH_EDGES, READ_EDGE};
use crate::worker::mailbox::Message;

impl Tcp {
    /// Count a connection that has just proved to be bulk. True: it lives with a sibling from now on.
    pub(super) fn share(&mut self, context: &Context, place: Place) -> bool {
        let Some(connection) = self.connections.get_mut(place) else { return false };
        if connection.bulk || !connection.ways.iter().any(|way| way.bulk) {
            return false;
        }
        connection.bulk = true;
        let own = context.lane().bulk.fetch_add(1, Ordering::Relaxed) + 1;
        let lanes = context.shared.lanes.iter().enumerate();
        let loads = lanes.map(|(index, lane)| (lane.bulk.load(Ordering::Relaxed), index));
        let Some((least, sibling)) = loads.min().filter(|(least, _)| own > least + 1) else { return false };
        debug_assert!(sibling != context.index, "{least} is less than {own}");
        let Some(connection) = self.connections.remove(place) else { return false };
        self.part(context, connection, sibling);
        true
    }

    fn part(&mut self, context: &Context, mut connection: Connection, sibling: usize) {
        // The client's socket may not have been watched yet, which is all that can go wrong.
        let _ = context.epoll.remove(&connection.client);
        let _ = connection.endpoint.as_ref().map(|endpoint| context.epoll.remove(endpoint));
        for way in &mut connection.ways {
            way.pipe = way.pipe.take().and_then(|pipe| self.tools.pipes.part(pipe));
        }
        connection.queued = false;
        connection.armed = 0;
        context.shared.moving.fetch_add(1, Ordering::Relaxed);
        context.count(self.connections.len());
        context.lane().bulk.fetch_sub(1, Ordering::Relaxed);
        context.shared.lanes[sibling].bulk.fetch_add(1, Ordering::Relaxed);
        let message = Message::Adopt(Box::new(connection));
        if let Some(Message::Adopt(connection)) = context.shared.lanes[sibling].mailbox.send(message) {
            // The sibling has left, so it stays here.
            context.shared.lanes[sibling].bulk.fetch_sub(1, Ordering::Relaxed);
            context.lane().bulk.fetch_add(1, Ordering::Relaxed);
            self.adopt(context, *connection);
        }
    }

    /// Take over a sibling's connection. Workers' clocks began together, so its times are as good here.
    pub fn adopt(&mut self, context: &Context, mut connection: Connection) {
        if let Some(flow) = &mut connection.flow {
            flow.hand_to(context.index);
        }
        for _ in connection.ways.iter().filter(|way| way.pipe.is_some()) {
            self.tools.pipes.join();
        }
        if self.leaving != 0 {
            connection.leave = if connection.leave == 0 { self.leaving } else { connection.leave.min(self.leaving) };
        }
        let flags = if connection.watched { BOTH_EDGES } else { READ_EDGE };
        let place = self.connections.insert(connection);
        context.count(self.connections.len());
        context.shared.moving.fetch_sub(1, Ordering::Relaxed);
        let Some(connection) = self.connections.get_mut(place) else { return };
        let watched = context.epoll.add(&connection.client, flags, Kind::Client, place).and_then(|()| {
            let endpoint = connection.endpoint.as_ref();
            endpoint.map_or(Ok(()), |endpoint| context.epoll.add(endpoint, BOTH_EDGES, Kind::Endpoint, place))
        });
        if watched.is_err() {
            return self.end(context, place, End::Drained, true);
        }
        self.work(context, place);
    }
}
