// SPDX-License-Identifier: Apache-2.0
//! One tracked connection, as the kernel describes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::wire;
use crate::parse::{Attribute, Attributes, Message};

/// An address and a port.
pub type Destination = (IpAddr, u16);

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// The IP protocol's number.
    pub protocol: u8,
    /// Where it comes from.
    pub source: Destination,
    /// Where it goes.
    pub destination: Destination,
}

/// A tracked connection: what the client sent, and what an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The client's direction.
    pub original: Tuple,
    /// The answers' direction.
    pub reply: Tuple,
    /// `IPS_*` bits.
    pub status: u32,
}

/// A flow in a message of a dump, before anything but its tuples is read.
pub(super) struct Shown<'a> {
    pub flow: Flow,
    pub family: u8,
    original: &'a [u8],
    rest: Attributes<'a>,
}

/// What a deletion must name, so that only this very flow goes: the raw attributes, as the kernel wrote them.
pub(super) struct Name<'a> {
    pub original: &'a [u8],
    pub id: Option<&'a [u8]>,
    pub zone: Option<&'a [u8]>,
}

impl<'a> Shown<'a> {
    /// Read a message; None if it shows no flow with addresses and ports.
    pub fn read(message: &Message<'a>) -> Option<Self> {
        if message.kind != wire::NEW {
            return None;
        }
        let mut rest = message.attributes();
        let (mut original, mut reply) = (None, None);
        // The kernel writes both tuples first; a zone of a direction is inside its tuple.
        for attribute in rest.by_ref() {
            match attribute.kind {
                wire::ORIGINAL => original = Some(attribute),
                wire::REPLY => reply = Some(attribute),
                _ => {}
            }
            if original.is_some() && reply.is_some() {
                break;
            }
        }
        let (original, reply) = (original?, reply?);
        let flow = Flow { original: tuple(original)?, reply: tuple(reply)?, status: 0 };
        Some(Self { flow, family: message.family(), original: original.content, rest })
    }

    /// Read the rest: what names the flow, and its status.
    pub fn name(mut self) -> (Flow, Name<'a>) {
        let mut name = Name { original: self.original, id: None, zone: None };
        for attribute in self.rest {
            match attribute.kind {
                wire::STATUS => self.flow.status = attribute.u32().unwrap_or_default(),
                wire::ID => name.id = Some(attribute.content),
                wire::ZONE => name.zone = Some(attribute.content),
                _ => {}
            }
        }
        (self.flow, name)
    }
}

fn tuple(attribute: Attribute<'_>) -> Option<Tuple> {
    let (mut source, mut destination) = (None, None);
    let (mut protocol, mut source_port, mut destination_port) = (None, None, None);
    for part in attribute.nested() {
        match part.kind {
            wire::TUPLE_ADDRESSES => {
                for field in part.nested() {
                    match field.kind {
                        wire::SOURCE_V4 | wire::SOURCE_V6 => source = address(field.content),
                        wire::DESTINATION_V4 | wire::DESTINATION_V6 => destination = address(field.content),
                        _ => {}
                    }
                }
            }
            wire::TUPLE_PROTOCOL => {
                for field in part.nested() {
                    match field.kind {
                        wire::PROTOCOL => protocol = field.content.first().copied(),
                        wire::SOURCE_PORT => source_port = field.u16(),
                        wire::DESTINATION_PORT => destination_port = field.u16(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(Tuple { protocol: protocol?, source: (source?, source_port?), destination: (destination?, destination_port?) })
}

/// An address of four or sixteen bytes.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests;
