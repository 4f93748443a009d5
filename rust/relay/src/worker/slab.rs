// SPDX-License-Identifier: Apache-2.0
//! Things in numbered places that are used again, each telling its inhabitants apart.

use super::epoll::{Place, GENERATIONS};

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// The places.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Give a thing a place.
    pub fn insert(&mut self, value: T) -> Place {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.value = Some(value);
        Place { index, generation: slot.generation }
    }

    /// Who lives there, unless it is somebody else by now.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        let slot = self.slots.get_mut(place.index as usize)?;
        if slot.generation == place.generation {
            slot.value.as_mut()
        } else {
            None
        }
    }

    /// Take it out; its place is free then.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        let slot = self.slots.get_mut(place.index as usize)?;
        if slot.generation != place.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) % GENERATIONS;
        self.free.push(place.index);
        Some(value)
    }

    /// How many live here.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many have lived here at one time: places are below it.
    pub fn room(&self) -> usize {
        self.slots.len()
    }

    /// Where somebody lives.
    pub fn places(&self) -> impl Iterator<Item = (Place, &T)> {
        self.places_from(0)
    }

    /// Where somebody lives, from a place on.
    pub fn places_from(&self, start: usize) -> impl Iterator<Item = (Place, &T)> {
        self.slots.iter().enumerate().skip(start).filter_map(|(index, slot)| {
            let place = Place { index: index as u32, generation: slot.generation };
            slot.value.as_ref().map(|value| (place, value))
        })
    }
}

#[cfg(test)]
mod tests;
