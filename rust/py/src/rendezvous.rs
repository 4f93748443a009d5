// SPDX-License-Identifier: Apache-2.0
//! Rendezvous hashing for Python.

use balance::rendezvous;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Rendezvous hashing: which endpoint a hash leads to, without a table.
///
/// `endpoints` are names such as `b"10.0.0.1:80"`; one of weight 0 is never picked. `seed` is the Service's own.
#[pyclass(module = "kproxy._core", frozen)]
pub struct Rendezvous {
    method: rendezvous::Rendezvous,
    endpoints: usize,
}

#[pymethods]
impl Rendezvous {
    #[new]
    fn new(endpoints: Vec<Vec<u8>>, weights: Vec<u32>, seed: &[u8]) -> PyResult<Self> {
        if endpoints.len() != weights.len() {
            let (endpoints, weights) = (endpoints.len(), weights.len());
            return Err(PyValueError::new_err(format!("{endpoints} endpoints cannot have {weights} weights")));
        }
        let method = rendezvous::Rendezvous::new(&endpoints, &weights, seed);
        Ok(Self { method, endpoints: endpoints.len() })
    }

    /// The endpoint a 64-bit hash leads to; None if no endpoint is usable.
    fn pick(&self, key: u64) -> Option<u32> {
        self.method.pick(key)
    }

    /// How often each endpoint is picked by so many hashes that are spread evenly.
    fn spread(&self, python: Python<'_>, keys: u64) -> Vec<u64> {
        python.detach(|| self.method.spread(self.endpoints, keys))
    }
}
