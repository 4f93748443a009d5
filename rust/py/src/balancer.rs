// SPDX-License-Identifier: Apache-2.0
//! The relay's choice of endpoints for one Service, without a relay.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use relay::pick::{Failure, Picker};
use relay::table::{Endpoint, Live, Method, Scope, Service};

/// One Service's choice: which endpoint a client gets, on a clock that the caller reads in seconds.
///
/// `method` is one of `round-robin`, `random`, `least-connections` and `consistent`.
#[pyclass(module = "kproxy._core")]
pub struct Balancer {
    service: Service,
    live: Live,
    picker: Picker,
    began: Instant,
}

/// A method by its name.
pub fn method(name: &str) -> PyResult<Method> {
    match name {
        "round-robin" => Ok(Method::RoundRobin),
        "random" => Ok(Method::Random),
        "least-connections" => Ok(Method::LeastConnections),
        "consistent" => Ok(Method::Consistent),
        _ => Err(PyValueError::new_err(format!(
            "no method is named {name}; take round-robin, random, least-connections or consistent"
        ))),
    }
}

fn address(text: &str) -> PyResult<SocketAddr> {
    text.parse().map_err(|_| PyValueError::new_err(format!("{text} is no address and port of an endpoint")))
}

#[pymethods]
impl Balancer {
    #[new]
    #[pyo3(signature = (method="round-robin", seed=0))]
    fn new(method: &str, seed: u64) -> PyResult<Self> {
        let service = Service {
            key: "balancer".into(),
            seed,
            frontends: Vec::new(),
            all: Vec::new(),
            local: Vec::new(),
            method: self::method(method)?,
            affinity: Duration::ZERO,
            proxy_protocol: false,
            keep_source: false,
        };
        let live = Live::new(service.clone(), None);
        Ok(Self { service, live, picker: Picker::default(), began: Instant::now() })
    }

    /// The whole list from now on: each endpoint's `ip:port` and weight.
    fn endpoints(&mut self, endpoints: Vec<(String, u32)>) -> PyResult<()> {
        let endpoint = |(text, weight): (String, u32)| Ok(Endpoint { address: address(&text)?, weight, local: false });
        self.service.all = endpoints.into_iter().map(endpoint).collect::<PyResult<_>>()?;
        self.change();
        Ok(())
    }

    /// How many seconds a client keeps its endpoint after its last connection; 0: not at all.
    fn affinity(&mut self, seconds: f64) -> PyResult<()> {
        self.service.affinity =
            Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.change();
        Ok(())
    }

    /// The endpoint for a client, none of those that were tried; None if there is no other.
    #[pyo3(signature = (client, now=0.0, tried=Vec::new()))]
    fn pick(&mut self, client: IpAddr, now: f64, tried: Vec<String>) -> PyResult<Option<String>> {
        let tried: Vec<SocketAddr> = tried.iter().map(|text| address(text)).collect::<PyResult<_>>()?;
        let now = self.at(now)?;
        let picked = self.picker.pick(&self.live, Scope::All, SocketAddr::new(client, 0), &tried, now);
        Ok(picked.map(|member| member.endpoint.address.to_string()))
    }

    /// An endpoint did not take a connection.
    #[pyo3(signature = (endpoint, now=0.0))]
    fn failed(&mut self, endpoint: &str, now: f64) -> PyResult<()> {
        let (address, now) = (address(endpoint)?, self.at(now)?);
        let member = self.live.everyone().find(|member| member.endpoint.address == address);
        if let Some(member) = member {
            self.picker.failed(member, Failure::Refused, now);
        }
        Ok(())
    }
}

impl Balancer {
    fn change(&mut self) {
        self.live = Live::new(self.service.clone(), Some(&self.live));
    }

    fn at(&self, now: f64) -> PyResult<Instant> {
        let after = Duration::try_from_secs_f64(now).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(self.began + after)
    }
}
