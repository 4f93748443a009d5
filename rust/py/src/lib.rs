// SPDX-License-Identifier: Apache-2.0
//! `kproxy._core`: the Rust core as Python sees it, and the only crate that knows Python.
//!
//! A file a class. Every call that reaches the kernel lets go of the interpreter meanwhile; classes that own a socket may be
//! used from any thread, one call after the other.

#![deny(unsafe_code)]
#![expect(clippy::needless_pass_by_value, reason = "PyO3 hands a function its arguments by value")]

mod balancer;
mod conntrack;
mod element_batch;
mod error;
mod flow_rules;
mod ipvs;
mod maglev;
mod nft_monitor;
mod nft_socket;
mod relay;
mod rendezvous;
mod sys;
mod xtables;

use pyo3::prelude::*;

/// The Rust core of kproxy.
#[pymodule(gil_used = true)]
mod _core {
    use std::collections::BTreeMap;

    use pyo3::pyfunction;

    #[pymodule_export]
    use crate::balancer::Balancer;
    #[pymodule_export]
    use crate::conntrack::Conntrack;
    #[pymodule_export]
    use crate::element_batch::ElementBatch;
    #[pymodule_export]
    use crate::error::{NetlinkError, RelayError};
    #[pymodule_export]
    use crate::flow_rules::FlowRules;
    #[pymodule_export]
    use crate::ipvs::Ipvs;
    #[pymodule_export]
    use crate::maglev::{maglev, maglev_size, Maglev};
    #[pymodule_export]
    use crate::nft_monitor::NftMonitor;
    #[pymodule_export]
    use crate::nft_socket::NftSocket;
    #[pymodule_export]
    use crate::relay::Relay;
    #[pymodule_export]
    use crate::rendezvous::Rendezvous;
    #[pymodule_export]
    use crate::xtables::xtables_entries;

    /// What this core was built as: its version, profile and architecture.
    #[pyfunction]
    fn build_info() -> BTreeMap<&'static str, &'static str> {
        BTreeMap::from([
            ("version", env!("CARGO_PKG_VERSION")),
            ("profile", if cfg!(debug_assertions) { "debug" } else { "release" }),
            ("architecture", std::env::consts::ARCH),
        ])
    }
}
