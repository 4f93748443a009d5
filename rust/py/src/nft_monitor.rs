// SPDX-License-Identifier: Apache-2.0
//! Hears what others change in nftables.

use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use netlink::nftables::Monitor;
use pyo3::prelude::*;

use crate::error::exception;

/// A subscription to what others change in nftables, in the calling thread's network namespace.
///
/// What sockets of the ignored ports change is not reported: the kernel does not even queue it.
#[pyclass(module = "kproxy._core", frozen)]
pub struct NftMonitor {
    monitor: Mutex<Monitor>,
}

impl NftMonitor {
    // Nothing here waits for the kernel, so the interpreter is kept.
    fn locked(&self) -> MutexGuard<'_, Monitor> {
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl NftMonitor {
    #[new]
    #[pyo3(signature = (ignore=Vec::new()))]
    fn new(ignore: Vec<u32>) -> PyResult<Self> {
        Ok(Self { monitor: Mutex::new(Monitor::open(ignore).map_err(exception)?) })
    }

    /// The descriptor that becomes readable when something is queued.
    fn fileno(&self) -> RawFd {
        self.locked().descriptor()
    }

    /// What others changed since the last call, each thing once: `(family, table, what)`, never waiting.
    ///
    /// The table is `*` where notifications were lost: then anything may have changed.
    fn poll(&self) -> PyResult<Vec<(u8, String, &'static str)>> {
        let changes = self.locked().poll().map_err(exception)?;
        let mut found = Vec::with_capacity(changes.len());
        for change in changes {
            let change = (change.family, change.table, change.what);
            if !found.contains(&change) {
                found.push(change);
            }
        }
        Ok(found)
    }

    /// As `poll`, and with the chain behind the table where it is a chain or a rule that changed.
    fn poll_chains(&self) -> PyResult<Vec<(u8, String, String, &'static str)>> {
        let changes = self.locked().poll().map_err(exception)?;
        Ok(changes.into_iter().map(|change| (change.family, change.table, change.chain, change.what)).collect())
    }

    /// Ignore one port more, what it has already caused and was not polled included.
    ///
    /// The port of an `nft` process is its process id.
    fn ignore(&self, portid: u32) -> PyResult<()> {
        self.locked().ignore(portid).map_err(exception)
    }

    /// Listen to a port again; what it has caused until now stays ignored.
    fn heed(&self, portid: u32) -> PyResult<()> {
        self.locked().heed(portid).map_err(exception)
    }

    /// The program behind the latest change seen, such as `nft (process 4711)`, where the kernel told.
    #[getter]
    fn culprit(&self) -> Option<String> {
        self.locked().culprit().map(str::to_owned)
    }
}
