// SPDX-License-Identifier: Apache-2.0
//! Goes through the flows once and deletes the stale ones, each by its own name, while the dump runs.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use super::flow::{Destination, Flow, Name, Shown};
use super::{wire, Conntrack, Rules};
use crate::message::{self, Body, Header};
use crate::socket::Socket;
use crate::Result;

/// Deletions sent at once.
const DELETIONS: u32 = 64;

/// Up to so many addresses or ports the kernel is asked for one by one: it walks its table in a tenth of the time it takes
/// to show it.
const ASKED_ONE_BY_ONE: usize = 8;

/// What a sweep found.
#[derive(Debug, Default)]
pub struct Swept {
    /// Flows the kernel showed.
    pub seen: u64,
    /// Stale flows that were deleted.
    pub deleted: u64,
    /// Stale flows that had gone by themselves when they were to be deleted.
    pub vanished: u64,
    /// Stale flows that the kernel does not let go: those a flow table has taken over. They leave by their time-out.
    pub held: u64,
    /// The first deleted flows, for the log.
    pub sample: Vec<Flow>,
}

/// What the kernel is to show.
#[derive(Clone, Copy)]
struct Filter {
    family: u8,
    protocol: u8,
    part: Part,
}

/// Which destinations.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    All,
    /// IPv4 only: Linux takes the comparison of IPv6 addresses the wrong way round and shows all the others (seen on 6.18;
    /// `ctnetlink_filter_match_tuple` has `!ipv6_addr_cmp()`).
    Address(Ipv4Addr),
    Port(u16),
}

/// Deletions under way.
struct Deletions<'a> {
    socket: &'a mut Socket,
    bytes: Vec<u8>,
    count: u32,
    last: u32,
    swept: &'a mut Swept,
}

impl Conntrack {
    /// Delete the stale flows of a family and protocol; show up to `sample` of them.
    pub fn delete_stale(&mut self, family: u8, protocol: u8, rules: &Rules, sample: usize) -> Result<Swept> {
        let mut swept = Swept::default();
        if rules.is_empty() {
            return Ok(swept);
        }
        for part in parts(rules) {
            let mut deletions = Deletions::new(&mut self.deleting, &mut swept);
            let mut filtered = true;
            show(&mut self.listing, Filter { family, protocol, part }, |shown| {
                deletions.swept.seen += 1;
                let original = shown.flow.original;
                filtered &= part.holds(original.destination);
                if original.protocol == protocol && rules.is_stale(&shown.flow) {
                    let family = shown.family;
                    let (flow, name) = shown.name();
                    if deletions.swept.sample.len() < sample {
                        deletions.swept.sample.push(flow);
                    }
                    deletions.add(family, &name)?;
                }
                Ok(())
            })?;
            deletions.flush()?;
            if !filtered {
                break; // a kernel without filters has shown everything at once
            }
        }
        Ok(swept)
    }

    /// Every flow of a family and protocol, to one destination address or to all.
    pub fn flows(&mut self, family: u8, protocol: u8, destination: Option<IpAddr>, mut see: impl FnMut(Flow)) -> Result<()> {
        let part = match destination {
            Some(IpAddr::V4(address)) => Part::Address(address),
            _ => Part::All,
        };
        show(&mut self.listing, Filter { family, protocol, part }, |shown| {
            let (flow, _) = shown.name();
            let original = flow.original;
            if original.protocol == protocol && destination.is_none_or(|wanted| wanted == original.destination.0) {
                see(flow);
            }
            Ok(())
        })
    }
}

/// The dumps that show every destination of the rules, as little else as possible, and together take the least time.
fn parts(rules: &Rules) -> HashSet<Part> {
    let by_address: Option<HashSet<Part>> = rules.destinations().map(Part::address).collect();
    let by_port: HashSet<Part> = rules.destinations().map(|&(_, port)| Part::Port(port)).collect();
    [by_address, Some(by_port)]
        .into_iter()
        .flatten()
        .find(|parts| parts.len() <= ASKED_ONE_BY_ONE)
        .unwrap_or_else(|| HashSet::from([Part::All]))
}

impl Part {
    fn address((address, _): &Destination) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(Self::Address(*address)),
            IpAddr::V6(_) => None,
        }
    }

    fn holds(self, (address, port): Destination) -> bool {
        match self {
            Self::All => true,
            Self::Address(wanted) => address == wanted,
            Self::Port(wanted) => port == wanted,
        }
    }
}

/// Show every flow the filter lets through, and on an old kernel others too.
fn show(socket: &mut Socket, filter: Filter, mut see: impl FnMut(Shown<'_>) -> Result<()>) -> Result<()> {
    const WHAT: &str = "listing conntrack's flows";
    let mut request = |filtered| {
        let sequence = socket.sequences(1);
        let mut bytes = Vec::new();
        let header =
            Header { kind: wire::GET, flags: libc::NLM_F_DUMP as u16, sequence, own: message::netfilter(filter.family, 0) };
        message::append(&mut bytes, header, |body| {
            if filtered {
                filter.write(body);
            }
        });
        // A dump that a resize of the table disturbs may miss flows; the next sweep finds them.
        socket.dump(&bytes, sequence, WHAT, |message| Shown::read(&message).map_or(Ok(()), &mut see)).map(drop)
    };
    match request(true) {
        // Refused before the first flow: a kernel that knows the attribute, but not these parts of it.
        Err(error) if matches!(error.errno, libc::EINVAL | libc::EOPNOTSUPP) => request(false),
        result => result,
    }
}

impl Filter {
    fn write(self, body: &mut Body<'_>) {
        let flags = wire::BY_PROTOCOL
            | match self.part {
                Part::All => 0,
                Part::Address(_) => wire::BY_DESTINATION,
                Part::Port(_) => wire::BY_DESTINATION_PORT,
            };
        body.nest(wire::ORIGINAL, |tuple| {
            if let Part::Address(address) = self.part {
                tuple.nest(wire::TUPLE_ADDRESSES, |addresses| addresses.put(wire::DESTINATION_V4, &address.octets()));
            }
            tuple.nest(wire::TUPLE_PROTOCOL, |protocol| {
                protocol.put(wire::PROTOCOL, &[self.protocol]);
                if let Part::Port(port) = self.part {
                    protocol.put(wire::DESTINATION_PORT, &port.to_be_bytes());
                }
            });
        });
        body.nest(wire::FILTER, |filter| filter.put(wire::FILTER_ORIGINAL, &flags.to_ne_bytes()));
    }
}

impl<'a> Deletions<'a> {
    fn new(socket: &'a mut Socket, swept: &'a mut Swept) -> Self {
        Self { socket, bytes: Vec::new(), count: 0, last: 0, swept }
    }

    /// Queue the deletion of one flow.
    fn add(&mut self, family: u8, name: &Name<'_>) -> Result<()> {
        self.last = self.socket.sequences(1);
        let header = Header {
            kind: wire::DELETE,
            flags: libc::NLM_F_ACK as u16,
            sequence: self.last,
            own: message::netfilter(family, 0),
        };
        message::append(&mut self.bytes, header, |body| {
            body.nest(wire::ORIGINAL, |tuple| tuple.splice(name.original));
            // Without its id a new flow of the same client, to the right endpoint, might be hit.
            for (kind, content) in [(wire::ID, name.id), (wire::ZONE, name.zone)] {
                if let Some(content) = content {
                    body.put(kind, content);
                }
            }
        });
        self.count += 1;
        if self.count == DELETIONS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let refusals = self.socket.request(&self.bytes, self.last, |_| Ok(()))?;
        self.swept.deleted += u64::from(self.count);
        for (_, verdict) in refusals {
            self.swept.deleted -= 1;
            match verdict.errno {
                libc::ENOENT => self.swept.vanished += 1,
                libc::EBUSY => self.swept.held += 1,
                _ => return Err(verdict.error("deleting a stale flow from conntrack")),
            }
        }
        self.count = 0;
        self.bytes.clear();
        Ok(())
    }
}
