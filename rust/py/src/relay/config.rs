// SPDX-License-Identifier: Apache-2.0
//! From what Python wishes for to what a relay is started with.

use std::collections::HashMap;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::PyResult;
use relay::{Config, Ports};

/// Settings by name, in seconds or as counts; whatever is not among them keeps its default.
#[derive(Default, Clone, pyo3::FromPyObject)]
pub struct Wishes(HashMap<String, f64>);

impl Wishes {
    /// The whole of it. An unknown name is refused, so that no wish is lost unseen.
    pub fn config(self, ports: (u16, u16), mark: u32, transparent: bool, workers: usize) -> PyResult<Config> {
        let ports = Ports { all: ports.0, local: ports.1 };
        let mut config = Config { workers, ports, transparent, mark, ..Config::default() };
        for (name, value) in self.0 {
            let wrong = || PyValueError::new_err(format!("the relay has no setting {name}={value}"));
            let time = Duration::try_from_secs_f64(value).map_err(|_| wrong())?;
            let count = usize::try_from(time.as_secs()).map_err(|_| wrong())?;
            match name.as_str() {
                "attempt_timeout" => config.timeouts.attempt = time,
                "dial_timeout" => config.timeouts.dial = time,
                "half_closed_timeout" => config.timeouts.half_closed = time,
                "tcp_idle_timeout" => config.timeouts.tcp_idle = Some(time),
                "udp_idle_timeout" => config.timeouts.udp_idle = time,
                "user_timeout" => config.timeouts.user_timeout = time,
                "drain_timeout" => config.timeouts.drain = Some(time),
                "attempts" => config.attempts = count,
                "max_connections" => config.max_connections = count,
                _ => return Err(wrong()),
            }
        }
        Ok(config)
    }
}
