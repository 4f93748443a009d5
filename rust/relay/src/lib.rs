// SPDX-License-Identifier: Apache-2.0
//! Forwarding in user space: the frontends of every Service on two ports, TCP and UDP, no Python.
//!
//! The kernel's rules bring a frontend's packets here by TPROXY, to one of two ports: the client class has been judged by
//! then, and the port says which endpoints may answer. The frontend is the original destination. So 10,000 Services cost
//! no socket, and this crate knows nothing of policies.
//!
//! - `config`: what a relay is started with
//! - `table`: the Services as workers see them: one snapshot, swapped as a whole
//! - `pick`: which endpoint a client gets; `stats`: what is counted, without a lock
//! - `proxy_protocol`: the client told to endpoints that ask for it
//! - `relay`: the handle: start, apply, stats, drain, stop
//! - `handover`: sockets passed to the next process, so that no connection is refused between the two
//! - `listen`: the sockets of the two ports; `translated`: what was dialled, of who was sent there by address translation
//! - `worker`: the loop of one thread; `tcp`: connections; `udp`: datagrams; `steer`: which CPU serves which client
//! - `sys`: every system call, and with it every line of `unsafe`

#![deny(unsafe_code)]

mod error;
#[cfg(test)]
mod fuzz;
mod hash;
mod listen;
mod outgoing;
mod relay;
mod steer;
mod sys;
mod tcp;
mod translated;
mod udp;
mod worker;

pub mod config;
pub mod handover;
pub mod pick;
pub mod proxy_protocol;
pub mod stats;
pub mod table;

pub use config::{Config, Ports, Timeouts};
pub use error::{Error, Result};
pub use relay::Relay;
