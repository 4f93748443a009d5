// SPDX-License-Identifier: Apache-2.0
//! One element of a set or map: its writer and its reader side by side.
//!
//! Keys and data are raw register bytes: each field of a concatenation in network order and padded to four bytes. Data is a
//! value, never a verdict.

use super::wire;
use crate::error::{Error, Result};
use crate::message::Body;
use crate::parse::{Attribute, Attributes};

/// An element as it is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewElement<'a> {
    /// The key, or the lowest key of an interval.
    pub key: &'a [u8],
    /// What a map yields for it.
    pub data: Option<&'a [u8]>,
    /// The highest key of a concatenated interval, itself included.
    pub key_end: Option<&'a [u8]>,
    /// Milliseconds until the element goes; 0: the set's default.
    pub timeout: u64,
}

/// An element as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// The key, or the lowest key of an interval.
    pub key: Vec<u8>,
    /// The highest key of a concatenated interval, itself included.
    pub key_end: Option<Vec<u8>>,
    /// What a map yields for it; None in a set, and where it is a verdict.
    pub data: Option<Vec<u8>>,
    /// Packets and bytes, if the element counts.
    pub counter: Option<(u64, u64)>,
    /// Milliseconds an element lives from its creation or last update; 0: for ever.
    pub timeout: u64,
    /// Milliseconds it still has; 0: for ever.
    pub expires: u64,
}

impl NewElement<'_> {
    /// Complain of what no message could carry or the kernel could only misread.
    pub fn check(&self) -> Result<()> {
        for value in [Some(self.key), self.data, self.key_end].into_iter().flatten() {
            if value.is_empty() || value.len() > wire::LONGEST_VALUE {
                return Err(Error::invalid(format!(
                    "a key or data of an nftables element has {} bytes; 1 to {} are possible",
                    value.len(),
                    wire::LONGEST_VALUE
                )));
            }
        }
        Ok(())
    }

    /// Append the element to a list of elements.
    pub fn write(&self, list: &mut Body<'_>) {
        list.nest(wire::LIST_ELEMENT, |element| {
            element.nest(wire::ELEMENT_KEY, |value| value.put(wire::DATA_VALUE, self.key));
            if let Some(key_end) = self.key_end {
                element.nest(wire::ELEMENT_KEY_END, |value| value.put(wire::DATA_VALUE, key_end));
            }
            if let Some(data) = self.data {
                element.nest(wire::ELEMENT_DATA, |value| value.put(wire::DATA_VALUE, data));
            }
            if self.timeout != 0 {
                element.put(wire::ELEMENT_TIMEOUT, &self.timeout.to_be_bytes());
            }
        });
    }
}

impl Element {
    /// Read one element of a list.
    pub fn read(attributes: Attributes<'_>) -> Self {
        let mut element = Self::default();
        for attribute in attributes {
            match attribute.kind {
                wire::ELEMENT_KEY => element.key = value(attribute).unwrap_or_default(),
                wire::ELEMENT_KEY_END => element.key_end = value(attribute),
                wire::ELEMENT_DATA => element.data = value(attribute),
                wire::ELEMENT_TIMEOUT => element.timeout = attribute.u64().unwrap_or_default(),
                wire::ELEMENT_EXPIRATION => element.expires = attribute.u64().unwrap_or_default(),
                // A single expression stands by itself, several stand in a list.
                wire::ELEMENT_EXPRESSION => element.counter = element.counter.or_else(|| counter(attribute.nested())),
                wire::ELEMENT_EXPRESSIONS => {
                    element.counter = element.counter.or_else(|| attribute.nested().find_map(|each| counter(each.nested())));
                }
                _ => {}
            }
        }
        element
    }

    /// The element as it would be sent.
    pub fn as_new(&self) -> NewElement<'_> {
        NewElement { key: &self.key, data: self.data.as_deref(), key_end: self.key_end.as_deref(), timeout: self.timeout }
    }
}

fn value(attribute: Attribute<'_>) -> Option<Vec<u8>> {
    attribute.nested().find(|inner| inner.kind == wire::DATA_VALUE).map(|inner| inner.content.to_vec())
}

/// The packets and bytes of an expression, if it is a counter.
pub fn counter(expression: Attributes<'_>) -> Option<(u64, u64)> {
    let mut is_counter = false;
    let (mut packets, mut bytes) = (None, None);
    for attribute in expression {
        match attribute.kind {
            wire::EXPRESSION_NAME => is_counter = attribute.text() == "counter",
            wire::EXPRESSION_DATA if is_counter => {
                for field in attribute.nested() {
                    match field.kind {
                        wire::COUNTER_PACKETS => packets = field.u64(),
                        wire::COUNTER_BYTES => bytes = field.u64(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    packets.zip(bytes)
}
