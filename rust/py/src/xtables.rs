// SPDX-License-Identifier: Apache-2.0
//! Tables of legacy iptables.

use netlink::xtables;
use pyo3::prelude::*;

/// A chain's name, and packets and bytes of each of its rules.
type Chain = (String, Vec<(u64, u64)>);

/// Read the entries of a legacy table: a number that stands for its rules whatever they have counted, and the chains users
/// made. The entries are as `getsockopt` gives them, for IPv6 those of `ip6_tables`.
#[pyfunction]
pub fn xtables_entries(python: Python<'_>, entries: &[u8], ipv6: bool) -> (u64, Vec<Chain>) {
    let layout = if ipv6 { xtables::IPV6 } else { xtables::IPV4 };
    let table = python.detach(|| xtables::read(entries, layout));
    (table.fingerprint, table.chains.into_iter().map(|chain| (chain.name, chain.counts)).collect())
}
