// SPDX-License-Identifier: Apache-2.0
//! Hears what others change in nftables.
//!
//! The kernel drops notifications of the ignored ports before they are queued (a classic BPF filter on the message's port),
//! so that our own big loads cannot overflow the queue.

use std::collections::HashSet;
use std::os::fd::RawFd;

use super::wire;
use crate::parse::Message;
use crate::socket::Socket;
use crate::sys::Instruction;
use crate::{Error, Result};

/// Notifications that may queue: somebody's own big load between two polls.
const QUEUE: i32 = 8 << 20;

/// The most ports that can be ignored at once: the kernel takes programs of 4,096 instructions.
const MOST_IGNORED: usize = 2000;

const NETLINK_PORT_OFFSET: u32 = 12;
const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Something that others changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Change {
    /// nftables' number of the table's family.
    pub family: u8,
    /// The table; `*` when notifications were lost, so that anything may have changed.
    pub table: String,
    /// The chain, where it is a chain or a rule that changed; else empty.
    pub chain: String,
    /// What happened, such as `new rule`, `delete table` or `lost`.
    pub what: &'static str,
}

/// A subscription to nftables' notifications.
pub struct Monitor {
    socket: Socket,
    ignored: Vec<u32>,
    changes: Vec<Change>,
    known: HashSet<Change>,
    culprit: Option<String>,
}

impl Monitor {
    /// Subscribe, without what comes from these ports.
    pub fn open(ignored: Vec<u32>) -> Result<Self> {
        let socket = Socket::open(libc::NETLINK_NETFILTER, QUEUE)?;
        let monitor = Self { socket, ignored, changes: Vec::new(), known: HashSet::new(), culprit: None };
        monitor.filter()?;
        monitor.socket.join(wire::GROUP)?;
        Ok(monitor)
    }

    /// The descriptor that becomes readable when something is queued.
    pub fn descriptor(&self) -> RawFd {
        self.socket.descriptor()
    }

    /// Ignore one port more, what it has already caused included.
    pub fn ignore(&mut self, port: u32) -> Result<()> {
        if !self.ignored.contains(&port) {
            self.ignored.push(port);
        }
        self.filter()
    }

    /// Listen to a port again. What it has caused until now stays ignored.
    pub fn heed(&mut self, port: u32) -> Result<()> {
        self.drain()?;
        self.ignored.retain(|&each| each != port);
        self.filter()
    }

    /// What others changed since the last call, each thing once.
    pub fn poll(&mut self) -> Result<Vec<Change>> {
        self.drain()?;
        self.known.clear();
        Ok(std::mem::take(&mut self.changes))
    }

    /// The program and process id behind the latest change, as the kernel tells them: `nft (process 4711)`.
    pub fn culprit(&self) -> Option<&str> {
        self.culprit.as_deref()
    }

    fn drain(&mut self) -> Result<()> {
        let Self { socket, ignored, changes, known, culprit } = self;
        let mut note = |change: Change| {
            if known.insert(change.clone()) {
                changes.push(change);
            }
        };
        loop {
            let received = socket.receive(false, |message| {
                if !ignored.contains(&message.port) {
                    if let Some(change) = read(&message) {
                        note(change);
                    } else if message.kind == wire::NEW_GENERATION {
                        *culprit = author(&message);
                    }
                }
                Ok(())
            });
            match received {
                Ok(Some(())) => {}
                Ok(None) => return Ok(()),
                Err(error) if error.errno == libc::ENOBUFS => {
                    note(Change { family: 0, table: "*".to_owned(), chain: String::new(), what: "lost" });
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn filter(&self) -> Result<()> {
        if self.ignored.len() > MOST_IGNORED {
            return Err(Error::invalid(format!("more than {MOST_IGNORED} ports cannot be ignored at once")));
        }
        self.socket.filter(&program(&self.ignored))
    }
}

/// Drop what carries one of these ports, keep the rest.
fn program(ports: &[u32]) -> Vec<Instruction> {
    let step = |code, operand| Instruction { code, yes: 0, no: 0, operand };
    let mut program = vec![step(LOAD_WORD, NETLINK_PORT_OFFSET)];
    for port in ports {
        // The load reads network order, netlink writes the machine's.
        program.push(Instruction { no: 1, ..step(JUMP_EQUAL, port.to_be()) });
        program.push(step(RETURN, 0));
    }
    program.push(step(RETURN, u32::MAX));
    program
}

fn read(message: &Message<'_>) -> Option<Change> {
    let what = name(message.kind)?;
    let find = |kind| message.attributes().find(|each| each.kind == kind).map(|each| each.text());
    let chain = match i32::from(message.kind & 0xff) {
        libc::NFT_MSG_NEWRULE | libc::NFT_MSG_DELRULE => find(wire::RULE_CHAIN),
        libc::NFT_MSG_NEWCHAIN | libc::NFT_MSG_DELCHAIN => find(wire::CHAIN_NAME),
        _ => None,
    };
    Some(Change { family: message.family(), table: find(wire::TABLE)?, chain: chain.unwrap_or_default(), what })
}

fn author(message: &Message<'_>) -> Option<String> {
    let find = |kind| message.attributes().find(|each| each.kind == kind);
    Some(format!("{} (process {})", find(wire::GENERATION_PROGRAM)?.text(), find(wire::GENERATION_PROCESS)?.u32()?))
}

fn name(kind: u16) -> Option<&'static str> {
    if kind >> 8 != wire::SUBSYSTEM {
        return None;
    }
    Some(match i32::from(kind & 0xff) {
        libc::NFT_MSG_NEWTABLE => "new table",
        libc::NFT_MSG_DELTABLE => "delete table",
        libc::NFT_MSG_NEWCHAIN => "new chain",
        libc::NFT_MSG_DELCHAIN => "delete chain",
        libc::NFT_MSG_NEWRULE => "new rule",
        libc::NFT_MSG_DELRULE => "delete rule",
        libc::NFT_MSG_NEWSET => "new set",
        libc::NFT_MSG_DELSET => "delete set",
        libc::NFT_MSG_NEWSETELEM => "new element",
        libc::NFT_MSG_DELSETELEM => "delete element",
        libc::NFT_MSG_NEWOBJ => "new object",
        libc::NFT_MSG_DELOBJ => "delete object",
        22 => "new flowtable",
        24 => "delete flowtable",
        _ => return None,
    })
}

#[cfg(test)]
pub(super) fn read_for_test(message: &Message<'_>) {
    let _ = (read(&Message { kind: wire::NEW_ELEMENT, ..*message }), author(message));
}

#[cfg(test)]
mod tests;
