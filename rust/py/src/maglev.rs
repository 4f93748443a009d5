// SPDX-License-Identifier: Apache-2.0
//! Maglev tables for Python.

use balance::maglev::{size, Error, Table};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

fn exception(error: Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A Maglev table: which endpoint a hash leads to.
///
/// `endpoints` are names such as `b"10.0.0.1:80"`; one of weight 0 is never picked. `seed` is the Service's own. `size` is a
/// prime, or 0 for 100 slots an endpoint.
#[pyclass(module = "kproxy._core", frozen)]
pub struct Maglev {
    table: Table,
    endpoints: usize,
}

#[pymethods]
impl Maglev {
    #[new]
    #[pyo3(signature = (endpoints, weights, seed, size=0))]
    fn new(endpoints: Vec<Vec<u8>>, weights: Vec<u32>, seed: &[u8], size: usize) -> PyResult<Self> {
        let table = Table::build(&endpoints, &weights, seed, size).map_err(exception)?;
        Ok(Self { table, endpoints: endpoints.len() })
    }

    /// Each slot's endpoint, by its place in the list.
    fn slots(&self) -> Vec<u32> {
        self.table.slots().to_vec()
    }

    /// The endpoint a 64-bit hash leads to; None if no endpoint is usable.
    fn pick(&self, key: u64) -> Option<u32> {
        self.table.pick(key)
    }

    /// How often each endpoint is picked by so many hashes that are spread evenly.
    fn spread(&self, python: Python<'_>, keys: u64) -> Vec<u64> {
        python.detach(|| self.table.spread(self.endpoints, keys))
    }

    fn __len__(&self) -> usize {
        self.table.slots().len()
    }
}

/// The slots of a Maglev table at once: `Maglev(...).slots()`.
#[pyfunction]
#[pyo3(signature = (endpoints, weights, seed, size=0))]
pub fn maglev(endpoints: Vec<Vec<u8>>, weights: Vec<u32>, seed: &[u8], size: usize) -> PyResult<Vec<u32>> {
    Maglev::new(endpoints, weights, seed, size).map(|built| built.slots())
}

/// The size a table of so many endpoints has if none is given.
#[pyfunction]
pub fn maglev_size(endpoints: usize) -> usize {
    size(endpoints)
}
