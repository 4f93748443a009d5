// SPDX-License-Identifier: Apache-2.0
//! Virtual and real servers as plain values, and how they stand in messages. Attributes that are not known are skipped.

use std::fmt;
use std::net::IpAddr;

use super::wire;
use crate::message::Body;
use crate::parse::{Attribute, Attributes};

/// What a virtual server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// Packets of an IP protocol to an address and port.
    Address(u8, IpAddr, u16),
    /// Packets with this mark.
    Mark(u32),
}

/// The name of a virtual server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// What it takes.
    pub target: Target,
}

/// A virtual server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub key: Key,
    /// Its scheduler's name.
    pub scheduler: String,
    /// `IP_VS_SVC_F_*` without the kernel's own.
    pub flags: u32,
    /// Seconds a client keeps its real server; counts with the persistent flag only.
    pub timeout: u32,
    /// How many leading bits of a client's address count for that.
    pub prefix: u8,
    /// The name of the persistence engine, or nothing.
    pub engine: String,
}

/// A real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Real {
    /// Where it is.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its share of new connections.
    pub weight: u32,
    /// How packets get there: 0 masquerading, 1 local, 2 tunnel, 3 direct routing, 4 bypass.
    pub forwarding: u32,
    /// No new connections from so many on; 0: no bound.
    pub upper: u32,
    /// New connections again below so many.
    pub lower: u32,
}

/// Connections, packets in, packets out, bytes in, bytes out.
pub type Statistics = [u64; 5];

/// A virtual server as the kernel holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldServer {
    /// What it is.
    pub server: Server,
    /// What has passed.
    pub statistics: Statistics,
}

/// A real server as the kernel holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldReal {
    /// What it is.
    pub real: Real,
    /// Established connections, all other connections, persistence templates.
    pub connections: [u32; 3],
    /// What has passed.
    pub statistics: Statistics,
}

impl Key {
    /// Write the attributes that name a virtual server.
    pub(super) fn write(&self, body: &mut Body<'_>) {
        body.put(wire::SERVICE_FAMILY, &u16::from(self.family).to_ne_bytes());
        match self.target {
            Target::Address(protocol, address, port) => {
                body.put(wire::SERVICE_PROTOCOL, &u16::from(protocol).to_ne_bytes());
                put_address(body, wire::SERVICE_ADDRESS, address);
                body.put(wire::SERVICE_PORT, &port.to_be_bytes());
            }
            Target::Mark(mark) => body.put(wire::SERVICE_MARK, &mark.to_ne_bytes()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target {
            Target::Address(protocol, IpAddr::V6(address), port) => write!(out, "[{address}]:{port}, protocol {protocol}"),
            Target::Address(protocol, address, port) => write!(out, "{address}:{port}, protocol {protocol}"),
            Target::Mark(mark) => write!(out, "mark {mark}"),
        }
    }
}

impl Server {
    /// Write every attribute of a virtual server: its flags are set as a whole.
    pub(super) fn write(&self, body: &mut Body<'_>) {
        self.key.write(body);
        body.put_text(wire::SERVICE_SCHEDULER, &self.scheduler);
        if !self.engine.is_empty() {
            body.put_text(wire::SERVICE_ENGINE, &self.engine);
        }
        let mut flags = [0; 8]; // the bits, and which of them are meant
        flags[..4].copy_from_slice(&self.flags.to_ne_bytes());
        flags[4..].copy_from_slice(&u32::MAX.to_ne_bytes());
        body.put(wire::SERVICE_FLAGS, &flags);
        body.put(wire::SERVICE_TIMEOUT, &self.timeout.to_ne_bytes());
        // A mask for IPv4, a length for IPv6: the kernel refuses an IPv6 length outside 1 to 128.
        let netmask = match self.key.family {
            wire::IPV6 => u32::from(self.prefix).to_ne_bytes(),
            _ => u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0).to_be_bytes(),
        };
        body.put(wire::SERVICE_NETMASK, &netmask);
    }
}

impl HeldServer {
    /// Read a virtual server; None where its name is not whole.
    pub(super) fn read(attributes: Attributes<'_>) -> Option<Self> {
        let (mut family, mut mark, mut protocol, mut port) = (0, None, 0, 0);
        let (mut address, mut netmask) = (None, None);
        let (mut flags, mut timeout) = (0, 0);
        let (mut scheduler, mut engine) = (String::new(), String::new());
        let mut statistics = Figures::default();
        for attribute in attributes {
            match attribute.kind {
                wire::SERVICE_FAMILY => family = attribute.native()? as u8,
                wire::SERVICE_PROTOCOL => protocol = attribute.native()? as u8,
                wire::SERVICE_ADDRESS => address = Some(attribute),
                wire::SERVICE_PORT => port = attribute.u16()?,
                wire::SERVICE_MARK => mark = Some(attribute.native()? as u32),
                wire::SERVICE_SCHEDULER => scheduler = attribute.text(),
                wire::SERVICE_ENGINE => engine = attribute.text(),
                wire::SERVICE_FLAGS => flags = low_half(&attribute)?,
                wire::SERVICE_TIMEOUT => timeout = attribute.native()? as u32,
                wire::SERVICE_NETMASK => netmask = Some(attribute),
                wire::SERVICE_STATS => statistics.read(&attribute, false),
                wire::SERVICE_STATS64 => statistics.read(&attribute, true),
                _ => {}
            }
        }
        let target = match mark {
            Some(mark) => Target::Mark(mark),
            None => Target::Address(protocol, address?.address(family)?, port),
        };
        let prefix = match family {
            wire::IPV6 => netmask.and_then(|netmask| netmask.native()).map_or(128, |length| length.min(128) as u8),
            _ => netmask.and_then(|netmask| netmask.u32()).map_or(32, |mask| mask.count_ones() as u8),
        };
        let flags = flags & !wire::HASHED;
        let server = Server { key: Key { family, target }, scheduler, flags, timeout, prefix, engine };
        Some(Self { server, statistics: statistics.values })
    }
}

impl Real {
    /// Write the attributes that name a real server.
    pub(super) fn write_name(&self, body: &mut Body<'_>) {
        put_address(body, wire::DESTINATION_ADDRESS, self.address);
        body.put(wire::DESTINATION_PORT, &self.port.to_be_bytes());
        let family = if self.address.is_ipv6() { wire::IPV6 } else { wire::IPV4 };
        body.put(wire::DESTINATION_FAMILY, &u16::from(family).to_ne_bytes());
    }

    /// Write every attribute of a real server.
    pub(super) fn write(&self, body: &mut Body<'_>) {
        self.write_name(body);
        for (kind, value) in [
            (wire::DESTINATION_FORWARDING, self.forwarding),
            (wire::DESTINATION_WEIGHT, self.weight),
            (wire::DESTINATION_UPPER, self.upper),
            (wire::DESTINATION_LOWER, self.lower),
        ] {
            body.put(kind, &value.to_ne_bytes());
        }
    }
}

impl HeldReal {
    /// Read a real server of a virtual server of `family`; None where its name is not whole.
    pub(super) fn read(attributes: Attributes<'_>, family: u8) -> Option<Self> {
        let (mut address, mut port, mut family) = (None, 0, family);
        let (mut weight, mut forwarding, mut upper, mut lower) = (0, 0, 0, 0);
        let mut connections = [0; 3];
        let mut statistics = Figures::default();
        for attribute in attributes {
            let number = || attribute.native().map(|number| number as u32);
            match attribute.kind {
                wire::DESTINATION_ADDRESS => address = Some(attribute),
                wire::DESTINATION_PORT => port = attribute.u16()?,
                wire::DESTINATION_FORWARDING => forwarding = number()?,
                wire::DESTINATION_WEIGHT => weight = number()?,
                wire::DESTINATION_UPPER => upper = number()?,
                wire::DESTINATION_LOWER => lower = number()?,
                wire::DESTINATION_ACTIVE => connections[0] = number()?,
                wire::DESTINATION_INACTIVE => connections[1] = number()?,
                wire::DESTINATION_PERSISTENT => connections[2] = number()?,
                wire::DESTINATION_FAMILY => family = number()? as u8,
                wire::DESTINATION_STATS => statistics.read(&attribute, false),
                wire::DESTINATION_STATS64 => statistics.read(&attribute, true),
                _ => {}
            }
        }
        let real = Real { address: address?.address(family)?, port, weight, forwarding, upper, lower };
        Some(Self { real, connections, statistics: statistics.values })
    }
}

/// Statistics under reading: those of 64 bits win over those of 32, whatever their order.
#[derive(Default)]
struct Figures {
    values: Statistics,
    wide: bool,
}

impl Figures {
    fn read(&mut self, attribute: &Attribute<'_>, wide: bool) {
        if self.wide && !wide {
            return;
        }
        self.wide = wide;
        for figure in attribute.nested().filter(|each| (wire::CONNECTIONS..=wire::BYTES_OUT).contains(&each.kind)) {
            self.values[usize::from(figure.kind - wire::CONNECTIONS)] = figure.native().unwrap_or_default();
        }
    }
}

/// The first of the two numbers in an attribute of flags.
fn low_half(attribute: &Attribute<'_>) -> Option<u32> {
    Some(u32::from_ne_bytes(attribute.content.get(..4)?.try_into().ok()?))
}

fn put_address(body: &mut Body<'_>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => body.put(kind, &address.octets()),
        IpAddr::V6(address) => body.put(kind, &address.octets()),
    }
}
