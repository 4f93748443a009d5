// SPDX-License-Identifier: Apache-2.0
//! Bytes to and from the kernel, where the nftables tool or a Python library is too slow.
//!
//! - `socket`: one netlink socket; requests, answers, the kernel's errors with their extended text
//! - `message`: builds messages and attributes; `parse`: reads them, never panics whatever arrives
//! - `nftables`: elements of sets and maps as atomic batches, read back by key; what others change
//! - `ipvs`: virtual and real servers, dumped and changed in batches with a verdict each
//! - `xtables`: whole tables of legacy iptables, as the kernel hands them out
//! - `conntrack`: flows listed with constant memory, stale ones deleted, one looked up
//! - `sys`: every system call, and with it every line of `unsafe`
//!
//! Of nftables only elements travel this way. Tables, chains, maps and rules go through the `nft` command.

#![deny(unsafe_code)]

mod error;
mod message;
mod parse;
mod socket;
mod sys;

pub mod conntrack;
pub mod ipvs;
pub mod nftables;
pub mod xtables;

pub use error::{Error, Result};
