// SPDX-License-Identifier: Apache-2.0
//! Element operations kept in Rust until they are sent.

use netlink::nftables::{Batch, NewElement};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::exception;

/// `(add?, set, key, data, key_end, timeout in ms)`.
type Operation = (bool, String, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, u64);

/// Operations on the elements of one table, in order, committed all or none by `NftSocket.send`.
///
/// Keys and data are raw register bytes: network order, each field of a concatenation padded to four bytes.
#[pyclass(module = "kproxy._core")]
pub struct ElementBatch {
    pub batch: Batch,
}

#[pymethods]
impl ElementBatch {
    /// `family` is nftables' number: 2 for `ip`, 10 for `ip6`, 1 for `inet`.
    #[new]
    fn new(family: u8, table: &str) -> PyResult<Self> {
        Ok(Self { batch: Batch::new(family, table).map_err(exception)? })
    }

    /// The number of the table's family.
    #[getter]
    fn family(&self) -> u8 {
        self.batch.family()
    }

    /// The table's name.
    #[getter]
    fn table(&self) -> &str {
        self.batch.table()
    }

    /// Queue an addition. `key_end` is the highest key of a concatenated interval; `timeout` is in milliseconds.
    #[pyo3(signature = (name, key, data=None, key_end=None, timeout=0))]
    fn add(&mut self, name: &str, key: &[u8], data: Option<&[u8]>, key_end: Option<&[u8]>, timeout: u64) -> PyResult<()> {
        self.batch.push(true, name, &NewElement { key, data, key_end, timeout }).map_err(exception)
    }

    /// Queue a deletion, which fails if there is no such element.
    #[pyo3(signature = (name, key, data=None, key_end=None))]
    fn delete(&mut self, name: &str, key: &[u8], data: Option<&[u8]>, key_end: Option<&[u8]>) -> PyResult<()> {
        self.batch.push(false, name, &NewElement { key, data, key_end, timeout: 0 }).map_err(exception)
    }

    /// Queue additions to one set: keys, and data for a map, of equal length back to back.
    #[pyo3(signature = (name, keys, key_length, datas=None, data_length=0))]
    fn add_many(
        &mut self,
        name: &str,
        keys: &[u8],
        key_length: usize,
        datas: Option<&[u8]>,
        data_length: usize,
    ) -> PyResult<()> {
        self.batch.add_many(name, keys, key_length, datas.map(|datas| (datas, data_length))).map_err(exception)
    }

    /// Queue operations of one verb on one set, given as columns; `datas` and `key_ends` are empty or as long as `keys`.
    #[pyo3(signature = (add, name, keys, datas=Vec::new(), key_ends=Vec::new()))]
    fn extend(
        &mut self,
        add: bool,
        name: &str,
        keys: Vec<Bound<'_, PyBytes>>,
        datas: Vec<Bound<'_, PyBytes>>,
        key_ends: Vec<Bound<'_, PyBytes>>,
    ) -> PyResult<()> {
        for (what, column) in [("datas", &datas), ("key_ends", &key_ends)] {
            if !column.is_empty() && column.len() != keys.len() {
                return Err(PyValueError::new_err(format!("{} keys and {} {what}", keys.len(), column.len())));
            }
        }
        let elements = keys.iter().enumerate().map(|(at, key)| NewElement {
            key: key.as_bytes(),
            data: datas.get(at).map(PyBytesMethods::as_bytes),
            key_end: key_ends.get(at).map(PyBytesMethods::as_bytes),
            timeout: 0,
        });
        self.batch.extend(add, name, elements).map_err(exception)
    }

    /// The operations read back: `(add?, set, key, data, key_end, timeout in ms)`.
    fn operations(&self) -> Vec<Operation> {
        let read = self.batch.operations();
        read.map(|each| {
            let element = each.element;
            (each.add, each.set.to_owned(), element.key, element.data, element.key_end, element.timeout)
        })
        .collect()
    }

    fn __len__(&self) -> usize {
        self.batch.len()
    }
}
