// SPDX-License-Identifier: Apache-2.0
//! A wheel of ticks. Whoever is due far ahead is visited once a turn and put back, so one wheel is enough for any time.
//!
//! Nothing is ever taken out: a place whose inhabitant has gone, or which was armed for another tick since, is passed over
//! when its turn comes. The owner keeps the tick it is armed for, and asks for no second visit before that.

use std::time::{Duration, Instant};

use super::epoll::Place;

/// Ticks of a turn.
const SLOTS: u32 = 128;

/// Milliseconds of a tick.
pub const TICK: u32 = 100;

/// A point in time, in ticks since the worker began; 0 stands for none.
pub type Tick = u32;

/// Ticks that a duration takes, rounded up.
pub fn ticks(duration: Duration) -> Tick {
    u32::try_from(duration.as_millis().div_ceil(TICK.into())).unwrap_or(u32::MAX / 2)
}

/// The worker's time, read once a round.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
    /// The time.
    pub now: Instant,
    /// The same in ticks.
    pub tick: Tick,
}

impl Clock {
    /// Start at tick 1.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { began: now, now, tick: 1 }
    }

    /// Read the time.
    pub fn read(&mut self) {
        self.now = Instant::now();
        self.tick =
            u32::try_from(self.now.duration_since(self.began).as_millis() / u128::from(TICK)).map_or(u32::MAX, |t| t + 1);
    }

    /// Milliseconds from now until a tick begins.
    pub fn until(&self, tick: Tick) -> i32 {
        let begins = self.began + Duration::from_millis(u64::from(tick.saturating_sub(1)) * u64::from(TICK));
        i32::try_from(begins.saturating_duration_since(self.now).as_millis() + 1).unwrap_or(i32::MAX)
    }
}

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<Place>>,
    /// Which slots hold something, one bit each.
    filled: u128,
    /// The last tick that was dealt with.
    done: Tick,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), filled: 0, done: 0 }
    }
}

impl Wheel {
    /// Ask for a visit at a tick, or at the end of the turn if that is sooner. Returns when it will be.
    pub fn arm(&mut self, place: Place, tick: Tick) -> Tick {
        let tick = tick.clamp(self.done + 1, self.done + SLOTS);
        let slot = tick % SLOTS;
        self.slots[slot as usize].push(place);
        self.filled |= 1 << slot;
        tick
    }

    /// The next tick at which somebody is due.
    pub fn next(&self) -> Option<Tick> {
        let ahead = self.filled.rotate_right((self.done + 1) % SLOTS);
        (ahead != 0).then(|| self.done + 1 + ahead.trailing_zeros())
    }

    /// The places of the earliest tick up to `now` that has any, and that tick. Give the list back with `give`.
    pub fn due(&mut self, now: Tick) -> Option<(Tick, Vec<Place>)> {
        match self.next() {
            Some(tick) if tick <= now => {
                self.done = tick;
                self.filled &= !(1 << (tick % SLOTS));
                Some((tick, std::mem::take(&mut self.slots[(tick % SLOTS) as usize])))
            }
            _ => {
                self.done = self.done.max(now);
                None
            }
        }
    }

    /// Give an emptied list back, so that its room is used again.
    pub fn give(&mut self, tick: Tick, mut places: Vec<Place>) {
        let slot = &mut self.slots[(tick % SLOTS) as usize];
        if slot.is_empty() {
            places.clear();
            *slot = places;
        }
    }
}

#[cfg(test)]
mod tests;
