// SPDX-License-Identifier: Apache-2.0
//! What a way knows of its ends.

use super::{Delay, Direction, Ending};

#[test]
fn a_way_whose_ends_are_both_broken_is_over_whichever_broke_first() {
    for source_first in [true, false] {
        let mut way = Direction::new(Delay::Off);
        way.tail = b"unsent".as_slice().into();
        if source_first {
            way.break_source();
            assert!(!way.reached(Ending::Reset), "there is something to deliver");
            way.break_sink();
        } else {
            way.break_sink();
            assert!(!way.reached(Ending::Reset), "the source may live");
            way.break_source();
        }
        assert!(way.reached(Ending::Reset));
    }
}

#[test]
fn a_source_that_breaks_after_its_last_word_was_reset() {
    let mut way = Direction::new(Delay::Off);
    way.ended = Some(Ending::Finished);
    way.break_source();
    assert!(way.reached(Ending::Reset));
}
