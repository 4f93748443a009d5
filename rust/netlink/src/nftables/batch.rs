// SPDX-License-Identifier: Apache-2.0
//! Element operations on one table, in order, kept as the bytes they will be sent as.
//!
//! An element costs its attributes plus eight bytes here, and no allocation of its own. Operations become messages only when
//! they are sent: consecutive ones of the same verb and set share a message, which is what makes big loads cheap.

use std::fmt::Write;
use std::ops::Range;

use super::element::{Element, NewElement};
use super::wire;
use crate::error::{Error, Result};
use crate::message::{self, aligned, Body, Header, ATTRIBUTE_HEADER, LONGEST_ATTRIBUTE, MESSAGE_HEADER};
use crate::parse::attributes;

/// Operations that are committed all or none.
#[derive(Debug, Clone)]
pub struct Batch {
    family: u8,
    table: String,
    sets: Vec<String>,
    steps: Vec<Step>,
    elements: Vec<u8>,
}

/// One operation: where its element's attributes end, and what happens to it.
#[derive(Debug, Clone, Copy)]
struct Step {
    end: u32,
    set: u16,
    add: bool,
}

/// One operation, read back from a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<'a> {
    /// Added, else deleted.
    pub add: bool,
    /// The name of the set or map.
    pub set: &'a str,
    /// The element.
    pub element: Element,
}

/// The datagram of one transaction, and where in it each message starts and with which operation.
#[derive(Debug)]
pub(super) struct Encoded {
    pub bytes: Vec<u8>,
    pub messages: Vec<(usize, usize)>,
}

impl Batch {
    /// An empty batch for one table. `family` is nftables' number: 2 for `ip`, 10 for `ip6`, 1 for `inet`.
    pub fn new(family: u8, table: &str) -> Result<Self> {
        check_name("table", table)?;
        Ok(Self { family, table: table.to_owned(), sets: Vec::new(), steps: Vec::new(), elements: Vec::new() })
    }

    /// How many operations it holds.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The table's family.
    pub fn family(&self) -> u8 {
        self.family
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Queue one operation.
    pub fn push(&mut self, add: bool, set: &str, element: &NewElement<'_>) -> Result<()> {
        self.extend(add, set, [*element])
    }

    /// Queue operations of one verb on one set. Elements already queued stay when one cannot be.
    pub fn extend<'a>(&mut self, add: bool, set: &str, elements: impl IntoIterator<Item = NewElement<'a>>) -> Result<()> {
        let set = self.intern(set)?;
        elements.into_iter().try_for_each(|element| {
            element.check()?;
            self.append(add, set, &element)
        })
    }

    /// Queue additions to one set: keys, and data if it is a map, of equal length back to back.
    pub fn add_many(&mut self, set: &str, keys: &[u8], key_length: usize, data: Option<(&[u8], usize)>) -> Result<()> {
        let count = pieces("keys", keys, key_length)?;
        let keys = keys.chunks_exact(key_length);
        let Some((data, data_length)) = data else {
            return self.extend(true, set, keys.map(|key| NewElement { key, ..NewElement::default() }));
        };
        let data_count = pieces("data", data, data_length)?;
        if data_count != count {
            return Err(Error::invalid(format!("{count} keys and {data_count} data do not make pairs")));
        }
        let pairs = keys.zip(data.chunks_exact(data_length));
        self.extend(true, set, pairs.map(|(key, data)| NewElement { key, data: Some(data), ..NewElement::default() }))
    }

    fn append(&mut self, add: bool, set: u16, element: &NewElement<'_>) -> Result<()> {
        element.write(&mut Body::loose(&mut self.elements));
        let end = u32::try_from(self.elements.len()).map_err(|_| Error::invalid("a batch of more than 4 GiB"))?;
        self.steps.push(Step { end, set, add });
        Ok(())
    }

    fn intern(&mut self, set: &str) -> Result<u16> {
        // A dataplane has a handful of sets, and the last one used comes most often.
        if let Some(at) = self.sets.iter().rposition(|known| known == set) {
            return Ok(at as u16);
        }
        check_name("set", set)?;
        let at = u16::try_from(self.sets.len()).map_err(|_| Error::invalid("a batch over more than 65536 sets"))?;
        self.sets.push(set.to_owned());
        Ok(at)
    }

    /// Read the operations back, for printing.
    pub fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        (0..self.len()).map(|at| self.operation(at))
    }

    fn operation(&self, at: usize) -> Operation<'_> {
        let step = self.steps[at];
        let mut list = attributes(&self.elements[self.start(at)..step.end as usize]);
        let element = list.next().map(|element| Element::read(element.nested())).unwrap_or_default();
        Operation { add: step.add, set: &self.sets[usize::from(step.set)], element }
    }

    /// One operation as a person would say it, such as `add element ip kproxy services`.
    pub(super) fn describe(&self, at: usize) -> String {
        let family = match i32::from(self.family) {
            libc::NFPROTO_INET => "inet",
            libc::NFPROTO_IPV4 => "ip",
            libc::NFPROTO_IPV6 => "ip6",
            _ => "?",
        };
        let operation = self.operation(at);
        let verb = if operation.add { "add" } else { "delete" };
        let mut key = String::new();
        for byte in &operation.element.key {
            let _ = write!(key, "{byte:02x}"); // a String takes everything
        }
        format!("{verb} element {family} {} {} (key {key})", self.table, operation.set)
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.steps[before].end as usize)
    }

    /// The operations from `from` on that go into one transaction of at most `operations` and `bytes`, at least one of them;
    /// and an upper bound of the transaction's size.
    pub(super) fn piece(&self, from: usize, operations: usize, bytes: usize) -> (Range<usize>, usize) {
        let header = MESSAGE_HEADER + 3 * ATTRIBUTE_HEADER + aligned(self.table.len() + 1) + aligned(wire::LONGEST_NAME + 1);
        let mut size = 2 * MESSAGE_HEADER;
        let mut to = from;
        while to < self.len() && (to == from || to - from < operations) {
            let this = self.steps[to];
            let shares = to > from && (self.steps[to - 1].set, self.steps[to - 1].add) == (this.set, this.add);
            // One message in some sixty thousand bytes begins where the verb and the set stay the same.
            let more = this.end as usize - self.start(to) + if shares { 1 } else { header };
            if to > from && size + more > bytes {
                break;
            }
            size += more;
            to += 1;
        }
        (from..to, size)
    }

    /// The datagram of one transaction and the number of its first message; `sequences` gives numbers for so many messages.
    pub(super) fn encode(&self, range: Range<usize>, sequences: impl FnOnce(u32) -> u32) -> (Encoded, u32) {
        let cuts = self.cuts(range.clone());
        let first = sequences(cuts.len() as u32 + 1); // messages lie between cuts; two more frame them
        let size = range.end.checked_sub(1).map_or(0, |last| self.steps[last].end as usize - self.start(range.start));
        let mut bytes = Vec::with_capacity(size + 64 * (cuts.len() + 2));
        let mut messages = Vec::with_capacity(cuts.len());
        frame(&mut bytes, wire::BATCH_BEGIN, first);
        for (number, pair) in cuts.windows(2).enumerate() {
            messages.push((bytes.len(), pair[0]));
            self.encode_message(&mut bytes, pair[0]..pair[1], first + 1 + number as u32);
        }
        frame(&mut bytes, wire::BATCH_END, first + cuts.len() as u32);
        (Encoded { bytes, messages }, first)
    }

    /// Where messages begin, and the end: cut where verb or set changes, or where an attribute would overflow.
    fn cuts(&self, range: Range<usize>) -> Vec<usize> {
        let mut cuts = vec![range.start];
        let mut begin = range.start;
        for at in range.clone().skip(1) {
            let (this, first) = (self.steps[at], self.steps[begin]);
            let length = this.end as usize - self.start(begin);
            if (this.add, this.set) != (first.add, first.set) || length > LONGEST_ATTRIBUTE {
                cuts.push(at);
                begin = at;
            }
        }
        if range.end > range.start {
            cuts.push(range.end);
        }
        cuts
    }

    fn encode_message(&self, bytes: &mut Vec<u8>, range: Range<usize>, sequence: u32) {
        let step = self.steps[range.start];
        let (kind, flags) =
            if step.add { (wire::NEW_ELEMENT, libc::NLM_F_CREATE as u16) } else { (wire::DELETE_ELEMENT, 0) };
        let header = Header { kind, flags, sequence, own: message::netfilter(self.family, 0) };
        let elements = &self.elements[self.start(range.start)..self.steps[range.end - 1].end as usize];
        message::append(bytes, header, |body| {
            body.put_text(wire::TABLE, &self.table);
            body.put_text(wire::LIST_SET, &self.sets[usize::from(step.set)]);
            body.nest(wire::LIST_ELEMENTS, |list| list.splice(elements));
        });
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u16, sequence: u32) {
    message::append(bytes, Header { kind, flags: 0, sequence, own: message::netfilter(0, wire::SUBSYSTEM) }, |_| {});
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > wire::LONGEST_NAME || name.contains('\0') {
        return Err(Error::invalid(format!("`{name}` cannot be the name of an nftables {what}")));
    }
    Ok(())
}

fn pieces(what: &str, bytes: &[u8], length: usize) -> Result<usize> {
    if length == 0 || bytes.len() % length != 0 {
        return Err(Error::invalid(format!("{} bytes of {what} are not a multiple of {length} bytes", bytes.len())));
    }
    Ok(bytes.len() / length)
}

#[cfg(test)]
mod tests;
