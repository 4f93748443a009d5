// SPDX-License-Identifier: Apache-2.0
//! Which datagrams leave in one call of the kernel's segmentation: equal ones in a row, and one shorter one after them.

use std::ops::Range;

/// Datagrams the kernel cuts one message into at most.
const PIECES: usize = 64;

/// Bytes of one message at most: less than an IP packet holds, heads and all.
const BYTES: usize = 60_000;

/// A message as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Its bytes.
    pub length: usize,
    /// The size of the datagrams it was merged from; None: it is one.
    pub segment: Option<u16>,
}

/// Messages to be sent as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which ones.
    pub messages: Range<usize>,
    /// The size to cut them into; 0: they are one datagram.
    pub segment: u16,
}

impl Message {
    /// The size of its datagrams, all but perhaps the last.
    fn unit(self) -> usize {
        self.segment.map_or(self.length, |size| usize::from(size).min(self.length))
    }

    fn pieces(self) -> usize {
        self.length.div_ceil(self.unit().max(1)).max(1)
    }

    /// Whether its last datagram is as long as the others.
    fn even(self) -> bool {
        self.length > 0 && self.length % self.unit() == 0
    }
}

/// Join what can be joined, in the order it came.
pub fn join(messages: &[Message]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    // What the last run holds, and whether more may follow.
    let (mut pieces, mut bytes, mut unit, mut open) = (0, 0, 0, false);
    for (index, message) in messages.iter().enumerate() {
        let follows = message.unit() == unit || (message.pieces() == 1 && message.length < unit);
        let fits = pieces + message.pieces() <= PIECES && bytes + message.length <= BYTES;
        match runs.last_mut() {
            Some(run) if open && message.length > 0 && follows && fits => {
                run.messages.end += 1;
                run.segment = unit as u16;
                pieces += message.pieces();
                bytes += message.length;
                open = message.even() && message.unit() == unit;
            }
            _ => {
                unit = message.unit();
                pieces = message.pieces();
                bytes = message.length;
                open = message.even();
                runs.push(Run { messages: index..index + 1, segment: if pieces > 1 { unit as u16 } else { 0 } });
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(lengths: &[usize]) -> Vec<(Range<usize>, u16)> {
        let messages: Vec<Message> = lengths.iter().map(|&length| Message { length, segment: None }).collect();
        join(&messages).into_iter().map(|run| (run.messages, run.segment)).collect()
    }

    #[test]
    fn equal_ones_and_a_shorter_last_one_are_joined() {
        assert_eq!(plain(&[64; 16]), [(0..16, 64)]);
        assert_eq!(plain(&[64, 64, 10, 64, 64]), [(0..3, 64), (3..5, 64)]);
        assert_eq!(plain(&[10, 64]), [(0..1, 0), (1..2, 0)]);
        assert_eq!(plain(&[64]), [(0..1, 0)]);
        assert_eq!(plain(&[]), []);
    }

    #[test]
    fn empty_ones_stay_alone() {
        assert_eq!(plain(&[64, 0, 0, 64]), [(0..1, 0), (1..2, 0), (2..3, 0), (3..4, 0)]);
    }

    #[test]
    fn a_run_has_its_limits() {
        assert_eq!(plain(&[1; 70]), [(0..64, 1), (64..70, 1)]);
        assert_eq!(plain(&[30_000; 3]), [(0..2, 30_000), (2..3, 0)]);
        assert_eq!(plain(&[65_507; 2]), [(0..1, 0), (1..2, 0)]);
    }

    #[test]
    fn merged_ones_are_cut_as_they_were() {
        let merged = |length, size| Message { length, segment: Some(size) };
        assert_eq!(join(&[merged(2500, 1000)]), [Run { messages: 0..1, segment: 1000 }]);
        let runs = join(&[merged(2000, 1000), merged(1500, 1000), merged(1000, 1000)]);
        assert_eq!(runs, [Run { messages: 0..2, segment: 1000 }, Run { messages: 2..3, segment: 0 }]);
        // A merged one of shorter datagrams would be cut wrongly after longer ones.
        let runs = join(&[merged(2000, 1000), merged(900, 300)]);
        assert_eq!(runs, [Run { messages: 0..1, segment: 1000 }, Run { messages: 1..2, segment: 300 }]);
    }

    #[test]
    fn every_message_is_in_one_run_and_is_cut_into_its_own_datagrams() {
        let mut state = 1_u64;
        for _ in 0..2_000 {
            let mut draw = |below: u64| {
                state = balance::hash::mix(state.wrapping_add(0x9e37_79b9), 0x1405_7b7e);
                (state >> 20) % below
            };
            let messages: Vec<Message> = (0..draw(20))
                .map(|_| {
                    let size = [0, 1, 7, 8, 1200, 30_000][draw(6) as usize];
                    let merged = size > 0 && size < 2000 && draw(3) == 0;
                    let length = if merged { size * (2 + draw(9) as usize) - draw(2) as usize } else { size };
                    Message { length, segment: merged.then_some(size as u16) }
                })
                .collect();
            let mut next = 0;
            for run in join(&messages) {
                assert_eq!(run.messages.start, next);
                next = run.messages.end;
                let inside = &messages[run.messages];
                let bytes: usize = inside.iter().map(|message| message.length).sum();
                let own = inside.iter().flat_map(|message| cut(message.length, message.segment.map_or(0, usize::from)));
                assert_eq!(cut(bytes, run.segment.into()), own.collect::<Vec<_>>());
            }
            assert_eq!(next, messages.len());
        }
    }

    /// The datagrams that bytes are cut into.
    fn cut(bytes: usize, size: usize) -> Vec<usize> {
        if size == 0 || bytes == 0 {
            return vec![bytes];
        }
        (0..bytes).step_by(size).map(|start| size.min(bytes - start)).collect()
    }
}
