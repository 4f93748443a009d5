// SPDX-License-Identifier: Apache-2.0
//! Selection methods for endpoints: pure functions of their arguments, no I/O, no randomness of their own.
//!
//! A file a method; in all of them a weight of 0 means "never", and what the caller calls unusable just now is passed over.
//! - `round_robin`, `random`: in turn and by chance; the weights' shares of a total are `shares`
//! - `least_connections`: who would be the least busy
//! - `rendezvous`, `maglev`: consistent hashing, without and with a table; every node, and a node after its restart, works
//!   out the same endpoint for a client. `hash` is what they hash with
//! - `selection`: one of them by the name of its method

#![forbid(unsafe_code)]

pub mod hash;
pub mod least_connections;
pub mod maglev;
pub mod random;
pub mod rendezvous;
pub mod round_robin;
pub mod selection;
pub mod shares;

pub use selection::{Method, Selection, Situation};
