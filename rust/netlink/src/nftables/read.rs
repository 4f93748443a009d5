// SPDX-License-Identifier: Apache-2.0
//! Reads elements and tables back.
//!
//! A dump of a large set is quadratic: for each piece the kernel walks the set from its start (250,000 elements: 5 s). Reads
//! by key are linear and cheap, so counters of large maps are read by key.

use super::element::{counter, Element, NewElement};
use super::{wire, Nftables};
use crate::error::{Error, Result};
use crate::message::{self, Header};
use crate::parse::Message;
use crate::socket::Dump;

/// Keys asked for in one request. Each is answered by a datagram of its own, and all of them queue.
const KEYS: usize = 128;

/// Dumps that others disturb are begun anew this often.
const ATTEMPTS: usize = 20;

impl Nftables {
    /// The number of the kernel's rule set in this namespace: every commit, by anybody, raises it.
    pub fn generation(&mut self) -> Result<u32> {
        let mut generation = None;
        self.ask(
            wire::GET_GENERATION,
            0,
            |_| {},
            "reading nftables' generation",
            |message| {
                if message.kind == wire::NEW_GENERATION {
                    generation = message.attributes().find(|each| each.kind == wire::GENERATION_ID).and_then(|id| id.u32());
                }
            },
        )?;
        generation.ok_or_else(|| Error::new(libc::EPROTO, "the kernel did not tell nftables' generation"))
    }

    /// Every table of every family: its number and name.
    pub fn tables(&mut self) -> Result<Vec<(u8, String)>> {
        self.dump(
            wire::GET_TABLE,
            0,
            |_| {},
            "listing nftables' tables",
            |message, tables| {
                if message.kind == wire::NEW_TABLE {
                    if let Some(name) = message.attributes().find(|each| each.kind == wire::TABLE) {
                        tables.push((message.family(), name.text()));
                    }
                }
            },
        )
    }

    /// Every rule of a table, in order: its chain, and its attributes without the handles, which differ from load to load.
    ///
    /// The attributes are not interpreted: each is its kind in two bytes, low byte first, and its content. Rules are equal
    /// if these bytes are. A missing table has no rules.
    pub fn rules(&mut self, family: u8, table: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let put = |body: &mut message::Body<'_>| body.put_text(wire::TABLE, table);
        let rules =
            self.dump(wire::GET_RULE, family, put, &format!("reading the rules of table {table}"), |message, rules| {
                if message.kind == wire::NEW_RULE {
                    rules.push(read_rule(&message));
                }
            });
        match rules {
            Err(error) if error.errno == libc::ENOENT => Ok(Vec::new()),
            rules => rules,
        }
    }

    /// What each rule of a table, or of one of its chains, has counted, in order: its chain, packets and bytes; zeros for a
    /// rule without a counter. A missing table or chain has no rules.
    pub fn counts(&mut self, family: u8, table: &str, chain: Option<&str>) -> Result<Vec<(String, u64, u64)>> {
        let put = |body: &mut message::Body<'_>| {
            body.put_text(wire::TABLE, table);
            if let Some(chain) = chain {
                body.put_text(wire::RULE_CHAIN, chain);
            }
        };
        let counts =
            self.dump(wire::GET_RULE, family, put, &format!("reading the counters of table {table}"), |message, counts| {
                if message.kind == wire::NEW_RULE {
                    counts.push(read_counts(&message));
                }
            });
        match counts {
            Err(error) if error.errno == libc::ENOENT => Ok(Vec::new()),
            counts => counts,
        }
    }

    /// Whether a table exists.
    pub fn has_table(&mut self, family: u8, table: &str) -> Result<bool> {
        let put = |body: &mut message::Body<'_>| body.put_text(wire::TABLE, table);
        self.exists(wire::GET_TABLE, family, put, &format!("looking for table {table}"))
    }

    /// Whether a set or map exists.
    pub fn has_set(&mut self, family: u8, table: &str, set: &str) -> Result<bool> {
        let put = |body: &mut message::Body<'_>| {
            body.put_text(wire::TABLE, table);
            body.put_text(wire::LIST_SET, set);
        };
        self.exists(wire::GET_SET, family, put, &format!("looking for set {set} of table {table}"))
    }

    fn exists(&mut self, kind: u16, family: u8, put: impl FnOnce(&mut message::Body<'_>), what: &str) -> Result<bool> {
        match self.ask(kind, family, put, what, |_| {}) {
            Ok(()) => Ok(true),
            Err(error) if error.errno == libc::ENOENT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Every element of a set, in no order.
    pub fn elements(&mut self, family: u8, table: &str, set: &str) -> Result<Vec<Element>> {
        let put = |body: &mut message::Body<'_>| {
            body.put_text(wire::TABLE, table);
            body.put_text(wire::LIST_SET, set);
        };
        self.dump(wire::GET_ELEMENT, family, put, &format!("listing set {set} of table {table}"), |message, elements| {
            read_elements(&message, |element| elements.push(element));
        })
    }

    /// The elements of these keys, in their order; None for a key the set does not hold.
    pub fn get(&mut self, family: u8, table: &str, set: &str, keys: &[Vec<u8>]) -> Result<Vec<Option<Element>>> {
        keys.iter().try_for_each(|key| NewElement { key, ..NewElement::default() }.check())?;
        let mut found = Vec::with_capacity(keys.len());
        let mut exists = false; // the kernel says ENOENT for a missing key as for a missing set
        while found.len() < keys.len() {
            let asked = &keys[found.len()..keys.len().min(found.len() + KEYS)];
            let before = found.len();
            let put = |body: &mut message::Body<'_>| {
                body.put_text(wire::TABLE, table);
                body.put_text(wire::LIST_SET, set);
                body.nest(wire::LIST_ELEMENTS, |list| {
                    for key in asked {
                        NewElement { key, ..NewElement::default() }.write(list);
                    }
                });
            };
            let what = format!("reading set {set} of table {table}");
            let answer = self.ask(wire::GET_ELEMENT, family, put, &what, |message| {
                read_elements(&message, |element| found.push(Some(element)));
            });
            match answer {
                Ok(()) if found.len() - before == asked.len() => {}
                Ok(()) => return Err(Error::new(libc::EPROTO, format!("{what}: the kernel answered for other keys"))),
                // The kernel stops at the first key it lacks: the answers before it are good, those after it come next.
                Err(error) if error.errno == libc::ENOENT && found.len() - before < asked.len() => {
                    if !exists {
                        exists = self.has_set(family, table, set)?;
                    }
                    if !exists {
                        return Err(error);
                    }
                    found.push(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// A request that is answered and acknowledged.
    fn ask(
        &mut self,
        kind: u16,
        family: u8,
        body: impl FnOnce(&mut message::Body<'_>),
        what: &str,
        mut see: impl FnMut(Message<'_>),
    ) -> Result<()> {
        let sequence = self.socket.sequences(1);
        let mut bytes = Vec::new();
        let header = Header { kind, flags: libc::NLM_F_ACK as u16, sequence, own: message::netfilter(family, 0) };
        message::append(&mut bytes, header, body);
        let refusals = self.socket.request(&bytes, sequence, |message| {
            if message.sequence == sequence {
                see(message);
            }
            Ok(())
        })?;
        match refusals.first() {
            None => Ok(()),
            Some((_, verdict)) => Err(verdict.error(what)),
        }
    }

    /// A dump that shows one state of the kernel: begun anew when others changed it meanwhile.
    fn dump<T>(
        &mut self,
        kind: u16,
        family: u8,
        body: impl Fn(&mut message::Body<'_>),
        what: &str,
        see: impl Fn(Message<'_>, &mut Vec<T>),
    ) -> Result<Vec<T>> {
        for _ in 0..ATTEMPTS {
            let sequence = self.socket.sequences(1);
            let mut bytes = Vec::new();
            let header = Header { kind, flags: libc::NLM_F_DUMP as u16, sequence, own: message::netfilter(family, 0) };
            message::append(&mut bytes, header, &body);
            let mut found = Vec::new();
            let dump = self.socket.dump(&bytes, sequence, what, |message| {
                see(message, &mut found);
                Ok(())
            });
            match dump {
                Ok(Dump::Whole) => return Ok(found),
                Ok(Dump::Torn) => {}
                Err(error) if error.errno == libc::EINTR => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(libc::EINTR, format!("{what}: others keep changing nftables meanwhile")))
    }
}

fn read_rule(message: &Message<'_>) -> (String, Vec<u8>) {
    let mut chain = String::new();
    let mut bytes = Vec::with_capacity(message.payload.len());
    for attribute in message.attributes() {
        if attribute.kind == wire::RULE_CHAIN {
            chain = attribute.text();
        }
        if attribute.kind != wire::RULE_HANDLE && attribute.kind != wire::RULE_POSITION {
            bytes.extend_from_slice(&attribute.kind.to_le_bytes());
            bytes.extend_from_slice(attribute.content);
        }
    }
    (chain, bytes)
}

fn read_counts(message: &Message<'_>) -> (String, u64, u64) {
    let mut chain = String::new();
    let mut counted = None;
    for attribute in message.attributes() {
        match attribute.kind {
            wire::RULE_CHAIN => chain = attribute.text(),
            wire::RULE_EXPRESSIONS => counted = attribute.nested().find_map(|each| counter(each.nested())),
            _ => {}
        }
    }
    let (packets, bytes) = counted.unwrap_or_default();
    (chain, packets, bytes)
}

fn read_elements(message: &Message<'_>, mut see: impl FnMut(Element)) {
    if message.kind != wire::NEW_ELEMENT {
        return;
    }
    for list in message.attributes().filter(|each| each.kind == wire::LIST_ELEMENTS) {
        list.nested().for_each(|element| see(Element::read(element.nested())));
    }
}

#[cfg(test)]
pub(super) fn read_for_test(message: &Message<'_>) {
    let message = Message { kind: wire::NEW_ELEMENT, ..*message };
    read_elements(&message, drop);
    drop(read_rule(&message));
    drop(read_counts(&message));
}
