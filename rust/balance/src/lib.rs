// SPDX-License-Identifier: Apache-2.0
//! Selection methods for endpoints: pure functions of their arguments, no I/O, no randomness of their own.
//!
//! - `maglev`: consistent hashing by table; every node, and a node after its restart, works out the same one

#![forbid(unsafe_code)]

pub mod maglev;
