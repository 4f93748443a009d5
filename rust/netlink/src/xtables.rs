// SPDX-License-Identifier: Apache-2.0
//! Reads a table of legacy iptables as the kernel hands it out: a run of entries, each with matches, a target and counters.

use std::hash::Hasher;

/// Where the parts of an entry stand, and how the kernel's tables of one family begin.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Two 16-bit numbers: where the target and where the next entry starts, both from the entry's start.
    offsets: usize,
    /// Two 64-bit numbers: packets and bytes.
    counters: usize,
}

/// `struct ipt_entry`.
pub const IPV4: Layout = Layout { offsets: 88, counters: 96 };
/// `struct ip6t_entry`.
pub const IPV6: Layout = Layout { offsets: 140, counters: 152 };

const COUNTERS: usize = 16;
const TARGET_NAME: usize = 2; // behind the target's size
const TARGET_DATA: usize = 32;
const NAME: usize = 30;

/// The packets and bytes of one chain's rules, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// What each rule has counted.
    pub counts: Vec<(u64, u64)>,
}

/// A whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Stands for the rules, whatever they have counted.
    pub fingerprint: u64,
    /// The chains that users made.
    pub chains: Vec<Chain>,
}

/// Read entries. What is cut short ends the reading.
pub fn read(entries: &[u8], layout: Layout) -> Table {
    let mut hasher = std::hash::DefaultHasher::new();
    let mut chains: Vec<Chain> = Vec::new();
    let mut rest = entries;
    while let Some((entry, target)) = first(rest, layout) {
        rest = &rest[entry.len()..];
        let counters = layout.counters;
        hasher.write(&entry[..counters]);
        hasher.write(&entry[counters + COUNTERS..]);
        if text(&entry[target + TARGET_NAME..]) == b"ERROR" {
            close(&mut chains);
            let name = String::from_utf8_lossy(text(&entry[target + TARGET_DATA..])).into_owned();
            chains.push(Chain { name, counts: Vec::new() });
        } else if let Some(chain) = chains.last_mut() {
            chain.counts.push((number(&entry[counters..]), number(&entry[counters + 8..])));
        }
    }
    chains.pop(); // the table's end looks like one chain more
    Table { fingerprint: hasher.finish(), chains }
}

/// The first entry and where its target starts.
fn first(entries: &[u8], layout: Layout) -> Option<(&[u8], usize)> {
    let short = |at: usize| Some(usize::from(u16::from_ne_bytes(entries.get(at..at + 2)?.try_into().ok()?)));
    let (target, length) = (short(layout.offsets)?, short(layout.offsets + 2)?);
    let entry = entries.get(..length)?;
    (target >= layout.counters + COUNTERS && target + TARGET_DATA + NAME.min(8) <= length).then_some((entry, target))
}

/// A chain that a user made ends with a rule that returns, which nobody wrote.
fn close(chains: &mut [Chain]) {
    if let Some(chain) = chains.last_mut() {
        chain.counts.pop();
    }
}

fn text(bytes: &[u8]) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(NAME)];
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.get(..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests;
