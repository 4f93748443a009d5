// SPDX-License-Identifier: Apache-2.0
//! The door to IPVS.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use netlink::ipvs::{HeldReal, HeldServer, Key, Operation, Real, Server, Statistics, Target};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::exception;

/// `(family, protocol, address, port, mark)`; protocol 0: by mark.
type KeyTuple = (u8, u8, String, u16, u32);
/// `(scheduler, flags, seconds of persistence, prefix, persistence engine)`.
type ServerTuple = (String, u32, u32, u8, String);
/// `(address, port, weight, forwarding, upper, lower)`.
type RealTuple = (String, u16, u32, u32, u32, u32);
/// A real server, its connections (established, others, templates), its statistics.
type HeldRealTuple = (RealTuple, [u32; 3], Statistics);
/// A virtual server and its statistics.
type HeldServerTuple = (KeyTuple, ServerTuple, Statistics);
/// `(command, key, server, real)`: the command by the kernel's number.
type OperationTuple = (u8, KeyTuple, Option<ServerTuple>, Option<RealTuple>);

/// A netlink socket of the calling thread's network namespace, for IPVS.
#[pyclass(module = "kproxy._core", frozen)]
pub struct Ipvs {
    ipvs: Mutex<netlink::ipvs::Ipvs>,
}

#[pymethods]
impl Ipvs {
    #[new]
    fn new(python: Python<'_>) -> PyResult<Self> {
        let ipvs = python.detach(netlink::ipvs::Ipvs::open).map_err(exception)?; // may load a module
        Ok(Self { ipvs: Mutex::new(ipvs) })
    }

    /// Every virtual server, without its real servers.
    fn servers(&self, python: Python<'_>) -> PyResult<Vec<HeldServerTuple>> {
        let servers = self.detached(python, netlink::ipvs::Ipvs::servers)?;
        Ok(servers.into_iter().map(tell_server).collect())
    }

    /// The real servers of one virtual server; none where there is no such virtual server.
    fn reals(&self, python: Python<'_>, key: KeyTuple) -> PyResult<Vec<HeldRealTuple>> {
        let key = read_key(&key)?;
        let reals = self.detached(python, |ipvs| ipvs.reals(&key))?;
        Ok(reals.iter().map(tell_real).collect())
    }

    /// Every virtual server of a family, or of both, with its real servers.
    #[pyo3(signature = (family=None))]
    fn dump(&self, python: Python<'_>, family: Option<u8>) -> PyResult<Vec<(HeldServerTuple, Vec<HeldRealTuple>)>> {
        let held = self.detached(python, |ipvs| {
            let mut servers = ipvs.servers()?;
            servers.retain(|held| family.is_none_or(|family| family == held.server.key.family));
            servers
                .into_iter()
                .map(|held| ipvs.reals(&held.server.key).map(|reals| (held, reals)))
                .collect::<netlink::Result<Vec<_>>>()
        })?;
        Ok(held.into_iter().map(|(server, reals)| (tell_server(server), reals.iter().map(tell_real).collect())).collect())
    }

    /// Carry out operations in order; one that is refused does not stop those behind it.
    ///
    /// Returns of each that was refused: its index, the error number, the kernel's own sentence if it has one.
    fn apply(&self, python: Python<'_>, operations: Vec<OperationTuple>) -> PyResult<Vec<(usize, i32, Option<String>)>> {
        let operations = operations.into_iter().map(read_operation).collect::<PyResult<Vec<_>>>()?;
        let refusals = self.detached(python, |ipvs| ipvs.apply(&operations))?;
        Ok(refusals.into_iter().map(|refusal| (refusal.index, refusal.errno, refusal.text)).collect())
    }

    /// Seconds an idle connection is kept: TCP, TCP after the end of one side, UDP.
    fn timeouts(&self, python: Python<'_>) -> PyResult<(u32, u32, u32)> {
        self.detached(python, netlink::ipvs::Ipvs::timeouts).map(|[tcp, tcp_fin, udp]| (tcp, tcp_fin, udp))
    }

    /// Change how long idle connections are kept; 0 leaves what is.
    fn set_timeouts(&self, python: Python<'_>, tcp: u32, tcp_fin: u32, udp: u32) -> PyResult<()> {
        self.detached(python, |ipvs| ipvs.set_timeouts([tcp, tcp_fin, udp]))
    }
}

impl Ipvs {
    fn detached<T: Send>(
        &self,
        python: Python<'_>,
        talk: impl FnOnce(&mut netlink::ipvs::Ipvs) -> netlink::Result<T> + Send,
    ) -> PyResult<T> {
        python.detach(|| talk(&mut self.ipvs.lock().unwrap_or_else(PoisonError::into_inner))).map_err(exception)
    }
}

fn read_address(text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|_| PyValueError::new_err(format!("{text:?} is no address")))
}

fn read_key((family, protocol, address, port, mark): &KeyTuple) -> PyResult<Key> {
    let target = match protocol {
        0 => Target::Mark(*mark),
        protocol => Target::Address(*protocol, read_address(address)?, *port),
    };
    Ok(Key { family: *family, target })
}

fn read_server(key: &KeyTuple, server: Option<ServerTuple>) -> PyResult<Server> {
    let Some((scheduler, flags, timeout, prefix, engine)) = server else {
        return Err(PyValueError::new_err("this command wants a virtual server"));
    };
    Ok(Server { key: read_key(key)?, scheduler, flags, timeout, prefix, engine })
}

fn read_real(real: Option<RealTuple>) -> PyResult<Real> {
    let Some((address, port, weight, forwarding, upper, lower)) = real else {
        return Err(PyValueError::new_err("this command wants a real server"));
    };
    Ok(Real { address: read_address(&address)?, port, weight, forwarding, upper, lower })
}

fn read_operation((command, key, server, real): OperationTuple) -> PyResult<Operation> {
    Ok(match command {
        1 => Operation::AddServer(read_server(&key, server)?),
        2 => Operation::SetServer(read_server(&key, server)?),
        3 => Operation::DeleteServer(read_key(&key)?),
        5 => Operation::AddReal(read_key(&key)?, read_real(real)?),
        6 => Operation::SetReal(read_key(&key)?, read_real(real)?),
        7 => Operation::DeleteReal(read_key(&key)?, read_real(real)?),
        _ => return Err(PyValueError::new_err(format!("{command} is no command that changes a server"))),
    })
}

fn tell_server(held: HeldServer) -> HeldServerTuple {
    let Server { key, scheduler, flags, timeout, prefix, engine } = held.server;
    let name = match key.target {
        Target::Address(protocol, address, port) => (key.family, protocol, address.to_string(), port, 0),
        Target::Mark(mark) => (key.family, 0, String::new(), 0, mark),
    };
    (name, (scheduler, flags, timeout, prefix, engine), held.statistics)
}

fn tell_real(held: &HeldReal) -> HeldRealTuple {
    let real = held.real;
    let told = (real.address.to_string(), real.port, real.weight, real.forwarding, real.upper, real.lower);
    (told, held.connections, held.statistics)
}
