// SPDX-License-Identifier: Apache-2.0
//! Visits come at their tick, and the far ones once a turn.

use std::time::Duration;

use super::{ticks, Tick, Wheel, SLOTS};
use crate::worker::epoll::Place;

fn place(index: u32) -> Place {
    Place { index, generation: 0 }
}

fn visits(wheel: &mut Wheel, now: Tick) -> Vec<(Tick, u32)> {
    let mut seen = Vec::new();
    while let Some((tick, places)) = wheel.due(now) {
        seen.extend(places.iter().map(|place| (tick, place.index)));
        wheel.give(tick, places);
    }
    seen
}

#[test]
fn visits_come_in_order_and_not_early() {
    let mut wheel = Wheel::default();
    for (index, tick) in [(1, 7), (2, 3), (3, 7)] {
        assert_eq!(wheel.arm(place(index), tick), tick);
    }
    assert_eq!(wheel.next(), Some(3));
    assert_eq!(visits(&mut wheel, 2), []);
    assert_eq!(visits(&mut wheel, 6), [(3, 2)]);
    assert_eq!(wheel.next(), Some(7));
    assert_eq!(visits(&mut wheel, 100), [(7, 1), (7, 3)]);
    assert_eq!(wheel.next(), None);
}

#[test]
fn who_is_due_far_ahead_is_visited_at_the_end_of_the_turn() {
    let mut wheel = Wheel::default();
    visits(&mut wheel, 1000);
    assert_eq!(wheel.arm(place(1), 5000), 1000 + SLOTS);
    assert_eq!(wheel.next(), Some(1000 + SLOTS));
    assert_eq!(visits(&mut wheel, 1000 + SLOTS), [(1000 + SLOTS, 1)]);
}

#[test]
fn who_is_overdue_is_visited_next() {
    let mut wheel = Wheel::default();
    visits(&mut wheel, 50);
    assert_eq!(wheel.arm(place(1), 10), 51);
}

#[test]
fn every_slot_of_a_turn_can_be_armed_from_any_tick() {
    for start in [0, 1, 63, 127, 128, 1_000_003] {
        let mut wheel = Wheel::default();
        visits(&mut wheel, start);
        for ahead in (1..=SLOTS).rev() {
            wheel.arm(place(ahead), start + ahead);
        }
        let expected: Vec<_> = (1..=SLOTS).map(|ahead| (start + ahead, ahead)).collect();
        assert_eq!(visits(&mut wheel, start + 2 * SLOTS), expected);
    }
}

#[test]
fn durations_are_rounded_up() {
    assert_eq!([0, 1, 100, 101].map(|millis| ticks(Duration::from_millis(millis))), [0, 1, 1, 2]);
}
