// SPDX-License-Identifier: Apache-2.0
//! Inputs for fuzzing: good examples, spoilt in all the ways in which bytes from outside are.
//!
//! Everything follows from a seed, so that what failed once fails again.

use balance::hash::mix;

/// Numbers at which lengths and counts go wrong.
const EDGES: [u64; 12] = [0, 1, 7, 8, 0x7f, 0xff, 0x100, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff];

/// The longest input.
const LONGEST: usize = 4096;

/// Numbers that look like chance.
pub struct Chance(pub u64);

impl Chance {
    /// One below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(mix(self.0, 0x5851_f42d_4c95_7f2d), 0x1405_7b7e_f767_814f) % limit.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

/// One of the examples, spoilt up to eight times.
pub fn spoilt(examples: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = examples[chance.below(examples.len())].clone();
    for _ in 0..chance.below(9) {
        spoil(&mut bytes, examples, chance);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn spoil(bytes: &mut Vec<u8>, examples: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(bytes.len() + 1);
    let until = at + chance.below(bytes.len() + 1 - at);
    match chance.below(8) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..until)),
        2 => bytes.extend_from_within(at..until),
        3 => bytes.insert(at, chance.byte()),
        4 => (0..chance.below(16)).for_each(|_| bytes.push(chance.byte())),
        5 => {
            let other = &examples[chance.below(examples.len())];
            bytes.truncate(at);
            bytes.extend(&other[chance.below(other.len() + 1)..]);
        }
        6 => {
            // A number where one may be: of any width, in either order of bytes.
            let edge = EDGES[chance.below(EDGES.len())];
            let number = if chance.below(2) == 0 { edge.to_le_bytes() } else { edge.rotate_left(32).to_be_bytes() };
            let width = [1, 2, 4, 8][chance.below(4)];
            bytes.iter_mut().skip(at).zip(&number[..width]).for_each(|(byte, new)| *byte = *new);
        }
        _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << chance.below(8)),
    }
}
