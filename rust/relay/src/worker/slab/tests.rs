// SPDX-License-Identifier: Apache-2.0
//! Places are used again, and nobody is taken for who lived there before.

use super::Slab;

#[test]
fn a_place_is_used_again_and_its_former_inhabitant_is_not_found() {
    let mut slab = Slab::default();
    let first = slab.insert("first");
    assert_eq!(slab.remove(first), Some("first"));

    let second = slab.insert("second");

    assert_eq!(second.index, first.index);
    assert_eq!(slab.get_mut(first), None);
    assert_eq!(slab.remove(first), None);
    assert_eq!(slab.get_mut(second), Some(&mut "second"));
    assert_eq!(slab.len(), 1);
}

#[test]
fn places_lists_who_lives() {
    let mut slab = Slab::default();
    let places: Vec<_> = (0..3).map(|number| slab.insert(number)).collect();
    slab.remove(places[1]);

    let living: Vec<_> = slab.places().map(|(place, &number)| (place, number)).collect();

    assert_eq!(living, [(places[0], 0), (places[2], 2)]);
}
