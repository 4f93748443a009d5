// SPDX-License-Identifier: Apache-2.0
//! The door to the connection tracker.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use netlink::conntrack::{address, Flow};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::exception;
use crate::flow_rules::FlowRules;

/// `(source, port, destination, port, reply's source, port, reply's destination, port, status)`, addresses as text.
type Told = (String, u16, String, u16, String, u16, String, u16, u32);

/// Two netlink sockets of the calling thread's network namespace, for listing and deleting tracked flows.
#[pyclass(module = "kproxy._core", frozen)]
pub struct Conntrack {
    conntrack: Mutex<netlink::conntrack::Conntrack>,
}

#[pymethods]
impl Conntrack {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self { conntrack: Mutex::new(netlink::conntrack::Conntrack::open().map_err(exception)?) })
    }

    /// Delete stale flows. Returns how many the kernel showed, how many were deleted, how many it does not let go because a
    /// flow table has taken them over, and the first `sample` that were to be deleted.
    ///
    /// `family` is 2 or 10, `protocol` the IP protocol's number. Memory does not grow with the number of flows.
    #[pyo3(signature = (family, protocol, rules, sample=10))]
    fn delete_stale(
        &self,
        python: Python<'_>,
        family: u8,
        protocol: u8,
        rules: PyRef<'_, FlowRules>,
        sample: usize,
    ) -> PyResult<(u64, u64, u64, Vec<Told>)> {
        let rules = &rules.rules;
        let swept = self.detached(python, |conntrack| conntrack.delete_stale(family, protocol, rules, sample))?;
        Ok((swept.seen, swept.deleted, swept.held, swept.sample.iter().map(tell).collect()))
    }

    /// Every flow of a family and protocol, to one destination address or to all.
    #[pyo3(signature = (family, protocol, destination=None))]
    fn entries(&self, python: Python<'_>, family: u8, protocol: u8, destination: Option<&[u8]>) -> PyResult<Vec<Told>> {
        let destination: Option<IpAddr> = match destination {
            None => None,
            Some(bytes) => Some(address(bytes).ok_or_else(|| PyValueError::new_err("an address has 4 or 16 bytes"))?),
        };
        let flows = self.detached(python, |conntrack| {
            let mut flows = Vec::new();
            conntrack.flows(family, protocol, destination, |flow| flows.push(flow))?;
            Ok(flows)
        })?;
        Ok(flows.iter().map(tell).collect())
    }
}

impl Conntrack {
    fn detached<T: Send>(
        &self,
        python: Python<'_>,
        talk: impl FnOnce(&mut netlink::conntrack::Conntrack) -> netlink::Result<T> + Send,
    ) -> PyResult<T> {
        python.detach(|| talk(&mut self.conntrack.lock().unwrap_or_else(PoisonError::into_inner))).map_err(exception)
    }
}

fn tell(flow: &Flow) -> Told {
    let (original, reply) = (flow.original, flow.reply);
    (
        original.source.0.to_string(),
        original.source.1,
        original.destination.0.to_string(),
        original.destination.1,
        reply.source.0.to_string(),
        reply.source.1,
        reply.destination.0.to_string(),
        reply.destination.1,
        flow.status,
    )
}
