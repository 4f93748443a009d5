// SPDX-License-Identifier: Apache-2.0
//! One flow, found by what its answers look like.

use std::net::IpAddr;

use super::flow::{Flow, Shown, Tuple};
use super::{wire, Conntrack};
use crate::message::{self, Body, Header};
use crate::Result;

impl Conntrack {
    /// The flow of a family whose answers look like this, if there is one.
    pub fn answered_by(&mut self, family: u8, answer: Tuple) -> Result<Option<Flow>> {
        let sequence = self.listing.sequences(1);
        let header = Header { kind: wire::GET, flags: libc::NLM_F_ACK as u16, sequence, own: message::netfilter(family, 0) };
        let mut bytes = Vec::new();
        message::append(&mut bytes, header, |body| body.nest(wire::REPLY, |body| put(body, answer)));
        let mut found = None;
        let refusals = self.listing.request(&bytes, sequence, |message| {
            found = Shown::read(&message).map(|shown| shown.name().0);
            Ok(())
        })?;
        match refusals.first() {
            Some((_, verdict)) if verdict.errno != libc::ENOENT => Err(verdict.error("looking a flow up")),
            _ => Ok(found),
        }
    }
}

fn put(body: &mut Body<'_>, tuple: Tuple) {
    let ((source, source_port), (destination, destination_port)) = (tuple.source, tuple.destination);
    body.nest(wire::TUPLE_ADDRESSES, |body| {
        put_address(body, source, wire::SOURCE_V4, wire::SOURCE_V6);
        put_address(body, destination, wire::DESTINATION_V4, wire::DESTINATION_V6);
    });
    body.nest(wire::TUPLE_PROTOCOL, |body| {
        body.put(wire::PROTOCOL, &[tuple.protocol]);
        body.put(wire::SOURCE_PORT, &source_port.to_be_bytes());
        body.put(wire::DESTINATION_PORT, &destination_port.to_be_bytes());
    });
}

fn put_address(body: &mut Body<'_>, address: IpAddr, four: u16, six: u16) {
    match address {
        IpAddr::V4(address) => body.put(four, &address.octets()),
        IpAddr::V6(address) => body.put(six, &address.octets()),
    }
}
