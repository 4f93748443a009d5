// SPDX-License-Identifier: Apache-2.0
//! The door to nftables' elements.

use std::sync::{Mutex, PoisonError};

use netlink::nftables::{Element, Nftables};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::element_batch::ElementBatch;
use crate::error::exception;

/// `(key, key_end, data, packets, bytes, timeout in ms, expires in ms)`.
type Read<'py> =
    (Bound<'py, PyBytes>, Option<Bound<'py, PyBytes>>, Option<Bound<'py, PyBytes>>, Option<u64>, Option<u64>, u64, u64);

/// A netlink socket of the calling thread's network namespace, for elements of nftables' sets and maps.
#[pyclass(module = "kproxy._core", frozen)]
pub struct NftSocket {
    nftables: Mutex<Nftables>,
    port: u32,
}

impl NftSocket {
    /// Talk to the kernel with the interpreter let go of.
    fn detached<T: Send>(
        &self,
        python: Python<'_>,
        talk: impl FnOnce(&mut Nftables) -> netlink::Result<T> + Send,
    ) -> PyResult<T> {
        python.detach(|| talk(&mut self.nftables.lock().unwrap_or_else(PoisonError::into_inner))).map_err(exception)
    }
}

#[pymethods]
impl NftSocket {
    #[new]
    fn new() -> PyResult<Self> {
        let nftables = Nftables::open().map_err(exception)?;
        Ok(Self { port: nftables.port(), nftables: Mutex::new(nftables) })
    }

    /// The number by which notifications name what this socket changes.
    #[getter]
    fn portid(&self) -> u32 {
        self.port
    }

    /// The number of the rule set in force, which every commit by anybody raises.
    fn generation(&self, python: Python<'_>) -> PyResult<u32> {
        self.detached(python, Nftables::generation)
    }

    /// Commit a batch, all of it or nothing. It is in force when this returns.
    ///
    /// Raises `NetlinkError`, whose `index` is the operation at fault where the kernel names one.
    fn send(&self, python: Python<'_>, batch: PyRef<'_, ElementBatch>) -> PyResult<()> {
        let batch = &batch.batch;
        self.detached(python, |nftables| nftables.send(batch))
    }

    /// Commit a batch in pieces of at most `piece` operations, each all or nothing. Returns how many pieces that took.
    ///
    /// Raises `NetlinkError`, whose `committed` is how many operations of earlier pieces are in force.
    fn send_pieces(&self, python: Python<'_>, batch: PyRef<'_, ElementBatch>, piece: usize) -> PyResult<usize> {
        let batch = &batch.batch;
        self.detached(python, |nftables| nftables.send_pieces(batch, piece))
    }

    /// Every element of a set: `(key, key_end, data, packets, bytes, timeout in ms, expires in ms)`, in no order.
    ///
    /// The kernel's time grows with the square of the set's size: read large sets with `get`.
    fn dump<'py>(&self, python: Python<'py>, family: u8, table: &str, name: &str) -> PyResult<Vec<Read<'py>>> {
        let elements = self.detached(python, |nftables| nftables.elements(family, table, name))?;
        Ok(elements.into_iter().map(|element| read(python, &element)).collect())
    }

    /// The elements of these keys as `dump` gives them, in their order; None for a key the set does not hold.
    fn get<'py>(
        &self,
        python: Python<'py>,
        family: u8,
        table: &str,
        name: &str,
        keys: Vec<Vec<u8>>,
    ) -> PyResult<Vec<Option<Read<'py>>>> {
        let elements = self.detached(python, |nftables| nftables.get(family, table, name, &keys))?;
        Ok(elements.into_iter().map(|element| element.map(|element| read(python, &element))).collect())
    }

    /// Every rule of a table, in order: its chain, and its attributes as bytes, without handles. A missing table has none.
    ///
    /// Equal rules have equal bytes; nothing else can be told from them.
    fn rules<'py>(&self, python: Python<'py>, family: u8, table: &str) -> PyResult<Vec<(String, Bound<'py, PyBytes>)>> {
        let rules = self.detached(python, |nftables| nftables.rules(family, table))?;
        Ok(rules.into_iter().map(|(chain, bytes)| (chain, PyBytes::new(python, &bytes))).collect())
    }

    /// What each rule of a table, or of one chain of it, has counted, in order: its chain, packets and bytes.
    #[pyo3(signature = (family, table, chain=None))]
    fn counts(&self, python: Python<'_>, family: u8, table: &str, chain: Option<&str>) -> PyResult<Vec<(String, u64, u64)>> {
        self.detached(python, |nftables| nftables.counts(family, table, chain))
    }

    /// Every table: its family's number and its name.
    fn tables(&self, python: Python<'_>) -> PyResult<Vec<(u8, String)>> {
        self.detached(python, Nftables::tables)
    }

    /// Whether a table exists.
    fn has_table(&self, python: Python<'_>, family: u8, name: &str) -> PyResult<bool> {
        self.detached(python, |nftables| nftables.has_table(family, name))
    }
}

fn read<'py>(python: Python<'py>, element: &Element) -> Read<'py> {
    let bytes = |value: &Vec<u8>| PyBytes::new(python, value);
    (
        bytes(&element.key),
        element.key_end.as_ref().map(bytes),
        element.data.as_ref().map(bytes),
        element.counter.map(|(packets, _)| packets),
        element.counter.map(|(_, bytes)| bytes),
        element.timeout,
        element.expires,
    )
}
