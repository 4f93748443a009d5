// SPDX-License-Identifier: Apache-2.0
//! The relay of userspace mode: started, told, asked and stopped from Python. Its workers never come back here.

mod config;
mod report;
mod service;

use std::os::fd::RawFd;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use relay::handover::Inherited;

use config::Wishes;
use report::Counts;
use service::Given;

use crate::error::relay_exception;
use crate::sys::borrowing;

/// A running relay, in the network namespace of the thread that makes it. It ends with `stop`, or with the object.
#[pyclass(module = "kproxy._core", frozen)]
pub struct Relay {
    relay: relay::Relay,
}

#[pymethods]
impl Relay {
    /// Start it: listen on the two ports, or take over the sockets that a relay sends over the Unix socket `inherit`.
    ///
    /// `mark` is that of its own packets; `transparent` accepts what is addressed to others and takes `CAP_NET_ADMIN`. Raises
    /// `RelayError`.
    #[new]
    #[pyo3(signature = (ports, *, mark, transparent = true, workers = 0, wishes = Wishes::default(), inherit = None))]
    fn new(
        python: Python<'_>,
        ports: (u16, u16),
        mark: u32,
        transparent: bool,
        workers: usize,
        wishes: Wishes,
        inherit: Option<RawFd>,
    ) -> PyResult<Self> {
        let config = wishes.config(ports, mark, transparent, workers)?;
        let inherited = inherit.map(|number| borrowing(number, |socket| python.detach(|| Inherited::receive(socket))));
        let inherited = inherited.transpose()?.transpose().map_err(relay_exception)?;
        let relay = python.detach(|| relay::Relay::start(config, inherited)).map_err(relay_exception)?;
        Ok(Self { relay })
    }

    /// The ports it listens on: that of all endpoints, that of local ones.
    #[getter]
    fn ports(&self) -> (u16, u16) {
        let ports = self.relay.ports();
        (ports.all, ports.local)
    }

    /// Change Services, all at once: the next client meets all of it. Raises `ValueError` with nothing changed.
    fn apply(&self, python: Python<'_>, upserts: Vec<Given>, removes: Vec<String>) {
        python.detach(|| self.relay.apply(upserts.into_iter().map(|Given(service)| service).collect(), &removes));
    }

    /// What was counted: of Services, of frontends, and of endpoints.
    fn stats(&self, python: Python<'_>) -> Counts {
        python.detach(|| report::counts(self.relay.stats()))
    }

    /// Clients that were turned away: nothing known where they dialled, no endpoint, none that could be dialled, too many
    /// connections, no descriptor left.
    fn refusals(&self) -> Vec<u64> {
        self.relay.refusals().to_vec()
    }

    /// Where each step of the times in `stats` ends, in microseconds; the last one has no end.
    #[staticmethod]
    fn steps() -> Vec<u64> {
        relay::stats::histogram::ends().to_vec()
    }

    /// Connections there are, and those being dialled.
    #[getter]
    fn connections(&self) -> usize {
        self.relay.connections()
    }

    /// Take no new clients; those there are have so many seconds, then they are reset.
    fn drain(&self, python: Python<'_>, seconds: f64) -> PyResult<()> {
        let deadline = Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))?;
        python.detach(|| self.relay.drain(deadline));
        Ok(())
    }

    /// Send copies of the sockets over a Unix socket, to a relay that is made with its other end as `inherit`.
    fn hand_over(&self, python: Python<'_>, channel: RawFd) -> PyResult<()> {
        borrowing(channel, |socket| python.detach(|| self.relay.hand_over().send(socket)))?.map_err(relay_exception)
    }

    /// What a worker that panicked said last; None while all of them run.
    fn fault(&self) -> Option<String> {
        self.relay.alive().err()
    }

    /// Reset every connection and end the workers.
    fn stop(&self, python: Python<'_>) {
        python.detach(|| self.relay.stop());
    }
}
