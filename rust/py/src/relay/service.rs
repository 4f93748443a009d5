// SPDX-License-Identifier: Apache-2.0
//! From Python's tuples to the relay's Services.
//!
//! Read straight from Python's own strings: of 50,000 endpoints none is copied.

use std::net::IpAddr;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use relay::table::{Endpoint, Frontend, Method, Protocol, Service};

/// `(key, protocol, seed, frontends, all, local, method, affinity in seconds, PROXY protocol, keep the source)`.
type Fields<'a, 'py> =
    (&'a str, &'a str, u64, Bound<'py, PyTuple>, Bound<'py, PyTuple>, Bound<'py, PyTuple>, &'a str, u32, bool, bool);

/// A Service as Python gives it; what is wrong with it is told in a sentence.
pub struct Given(pub Service);

impl<'a, 'py> FromPyObject<'a, 'py> for Given {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let (key, protocol, seed, frontends, all, local, method, affinity, proxy_protocol, keep_source): Fields<'_, '_> =
            given.extract()?;
        let wrong = |words: String| PyValueError::new_err(format!("Service {key}: {words}"));
        let protocol = match protocol {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            _ => return Err(wrong(format!("the relay has no protocol {protocol}"))),
        };
        let method = match method {
            "round-robin" => Method::RoundRobin,
            "random" => Method::Random,
            "least-connections" => Method::LeastConnections,
            "consistent" => Method::Consistent,
            _ => return Err(wrong(format!("the relay has no method {method}"))),
        };
        Ok(Self(Service {
            key: key.into(),
            seed,
            frontends: each(&frontends, |one| frontend(protocol, one.extract()?).map_err(wrong))?,
            all: each(&all, |one| endpoint(one.extract()?).map_err(wrong))?,
            local: each(&local, |one| endpoint(one.extract()?).map_err(wrong))?,
            method,
            affinity: Duration::from_secs(affinity.into()),
            proxy_protocol,
            keep_source,
        }))
    }
}

fn each<'py, T>(tuple: &Bound<'py, PyTuple>, read: impl Fn(Borrowed<'_, 'py, PyAny>) -> PyResult<T>) -> PyResult<Vec<T>> {
    let mut all = Vec::with_capacity(tuple.len());
    for one in tuple.iter_borrowed() {
        all.push(read(one)?);
    }
    Ok(all)
}

/// From a name, the address, which is the unspecified one for a `NodePort`, and the port.
fn frontend(protocol: Protocol, (name, address, port): (&str, &str, u16)) -> Result<Frontend, String> {
    let parsed = address.parse::<IpAddr>().map_err(|_| format!("{address:?} is no address"))?;
    Ok(Frontend { name: name.into(), protocol, address: Some(parsed), port })
}

/// From `address:port`, the weight, and whether it is on this node.
fn endpoint((address, weight, local): (&str, u32, bool)) -> Result<Endpoint, String> {
    let parsed = address.parse().map_err(|_| format!("{address:?} is no address with a port"))?;
    Ok(Endpoint { address: parsed, weight, local })
}
