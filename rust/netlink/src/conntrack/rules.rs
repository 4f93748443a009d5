// SPDX-License-Identifier: Apache-2.0
//! Which flows are stale. The decision is `routing.stale`'s; this is its form for a million flows: plain sets.

use std::collections::{HashMap, HashSet};

use super::flow::{address, Destination, Flow};
use crate::{Error, Result};

/// What to do with flows to the destinations that are looked for.
#[derive(Debug, Default)]
pub struct Rules {
    destinations: HashMap<Destination, Fate>,
    kept: Vec<HashSet<Destination>>,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Kept where the answer comes from one of this set.
    Served(usize),
    /// No frontend any more: what was translated goes, what the destination answers itself stays.
    Gone,
}

/// Split an address of 4 or 16 bytes and a port in network order.
pub fn destination(packed: &[u8]) -> Result<Destination> {
    let split = packed.len().checked_sub(2).map(|at| packed.split_at(at));
    let read = split.and_then(|(host, port)| Some((address(host)?, u16::from_be_bytes(port.try_into().ok()?))));
    read.ok_or_else(|| Error::invalid(format!("{} bytes are no address and port; 6 or 18 are", packed.len())))
}

impl Rules {
    /// Look for flows to these destinations; keep those that one of the endpoints answers.
    pub fn serve<'a>(
        &mut self,
        destinations: impl IntoIterator<Item = &'a [u8]>,
        endpoints: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<()> {
        let kept = endpoints.into_iter().map(destination).collect::<Result<_>>()?;
        for packed in destinations {
            self.destinations.insert(destination(packed)?, Fate::Served(self.kept.len()));
        }
        self.kept.push(kept);
        Ok(())
    }

    /// Look for flows to destinations that are no frontend any more, and that have not been said to be served.
    pub fn gone<'a>(&mut self, destinations: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        for packed in destinations {
            self.destinations.entry(destination(packed)?).or_insert(Fate::Gone);
        }
        Ok(())
    }

    /// How many destinations are looked for.
    pub fn len(&self) -> usize {
        self.destinations.len()
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.destinations.is_empty()
    }

    /// The destinations looked for.
    pub(super) fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.destinations.keys()
    }

    /// Whether a flow is to be deleted.
    pub fn is_stale(&self, flow: &Flow) -> bool {
        let destination = flow.original.destination;
        match self.destinations.get(&destination) {
            None => false,
            Some(Fate::Gone) => flow.reply.source != destination,
            Some(&Fate::Served(set)) => !self.kept[set].contains(&flow.reply.source),
        }
    }
}
