// SPDX-License-Identifier: Apache-2.0
//! Which flows are stale, in the form a million flows can be held against.

use netlink::conntrack::{destination, Flow, Rules, Tuple};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::exception;

/// Destinations to look for, and which flows to them are kept.
///
/// A destination or endpoint is its address (4 or 16 bytes) and its port (2 bytes), in network order, in one bytes.
#[pyclass(module = "kproxy._core")]
#[derive(Default)]
pub struct FlowRules {
    pub rules: Rules,
}

#[pymethods]
impl FlowRules {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Look for flows to these destinations; keep those that one of the endpoints answers.
    fn serve(&mut self, destinations: Vec<Bound<'_, PyBytes>>, endpoints: Vec<Bound<'_, PyBytes>>) -> PyResult<()> {
        let destinations = destinations.iter().map(PyBytesMethods::as_bytes);
        self.rules.serve(destinations, endpoints.iter().map(PyBytesMethods::as_bytes)).map_err(exception)
    }

    /// Look for flows to destinations that are no frontend any more; keep those that the destination answers itself.
    fn gone(&mut self, destinations: Vec<Bound<'_, PyBytes>>) -> PyResult<()> {
        self.rules.gone(destinations.iter().map(PyBytesMethods::as_bytes)).map_err(exception)
    }

    /// Whether a flow to that destination, answered by that endpoint, is stale.
    #[pyo3(signature = (to, answered_by))]
    fn is_stale(&self, to: &[u8], answered_by: &[u8]) -> PyResult<bool> {
        let (to, from) = (destination(to).map_err(exception)?, destination(answered_by).map_err(exception)?);
        let original = Tuple { protocol: 0, source: from, destination: to };
        let reply = Tuple { protocol: 0, source: from, destination: to };
        Ok(self.rules.is_stale(&Flow { original, reply, status: 0 }))
    }

    fn __len__(&self) -> usize {
        self.rules.len()
    }
}
