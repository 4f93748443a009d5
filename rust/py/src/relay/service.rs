// SPDX-License-Identifier: Apache-2.0
//! From Python's tuples to the relay's Services.

use std::net::IpAddr;
use std::time::Duration;

use relay::table::{Endpoint, Frontend, Method, Protocol, Service};

/// `(name, address, which is the unspecified one for a NodePort, port)`.
type GivenFrontend = (String, String, u16);

/// `(address:port, weight, on this node)`.
type GivenEndpoint = (String, u32, bool);

/// `(key, protocol, seed, frontends, all, local, method, affinity in seconds, PROXY protocol, keep the source)`.
pub type Given = (String, String, u64, Vec<GivenFrontend>, Vec<GivenEndpoint>, Vec<GivenEndpoint>, String, u32, bool, bool);

/// Read a Service; what is wrong with it is told in a sentence.
pub fn read(given: Given) -> Result<Service, String> {
    let (key, protocol, seed, frontends, all, local, method, affinity, proxy_protocol, keep_source) = given;
    let told = |words: String| format!("Service {key}: {words}");
    let protocol = match protocol.as_str() {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => return Err(told(format!("the relay has no protocol {protocol}"))),
    };
    let method = match method.as_str() {
        "round-robin" => Method::RoundRobin,
        "random" => Method::Random,
        "least-connections" => Method::LeastConnections,
        "consistent" => Method::Consistent,
        _ => return Err(told(format!("the relay has no method {method}"))),
    };
    let frontends = frontends.into_iter().map(|one| frontend(protocol, one)).collect::<Result<_, _>>().map_err(told)?;
    let all = all.into_iter().map(endpoint).collect::<Result<_, _>>().map_err(told)?;
    let local = local.into_iter().map(endpoint).collect::<Result<_, _>>().map_err(told)?;
    let affinity = Duration::from_secs(affinity.into());
    Ok(Service { key, seed, frontends, all, local, method, affinity, proxy_protocol, keep_source })
}

fn frontend(protocol: Protocol, (name, address, port): GivenFrontend) -> Result<Frontend, String> {
    let parsed = address.parse::<IpAddr>().map_err(|_| format!("{address:?} is no address"))?;
    Ok(Frontend { name, protocol, address: Some(parsed), port })
}

fn endpoint((key, weight, local): GivenEndpoint) -> Result<Endpoint, String> {
    let address = key.parse().map_err(|_| format!("{key:?} is no address with a port"))?;
    Ok(Endpoint { key, address, weight, local })
}
