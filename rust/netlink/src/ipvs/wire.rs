// SPDX-License-Identifier: Apache-2.0
//! The numbers of IPVS's generic netlink interface (`linux/ip_vs.h`). Numbers travel in this machine's order, ports and
//! addresses in the network's.

/// Generic netlink's own family, which tells the number of the others.
pub const CONTROL: u16 = 16;
pub const GET_FAMILY: u8 = 3;
pub const FAMILY_ID: u16 = 1;
pub const FAMILY_NAME: u16 = 2;
pub const CONTROL_VERSION: u8 = 1;

pub const NAME: &str = "IPVS";
pub const VERSION: u8 = 1;

pub const NEW_SERVICE: u8 = 1;
pub const SET_SERVICE: u8 = 2;
pub const DELETE_SERVICE: u8 = 3;
pub const GET_SERVICE: u8 = 4;
pub const NEW_DESTINATION: u8 = 5;
pub const SET_DESTINATION: u8 = 6;
pub const DELETE_DESTINATION: u8 = 7;
pub const GET_DESTINATION: u8 = 8;
pub const SET_CONFIG: u8 = 12;
pub const GET_CONFIG: u8 = 13;

/// Address families: `AF_INET`, `AF_INET6`.
pub const IPV4: u8 = 2;
pub const IPV6: u8 = 10;

/// Attributes of every command.
pub const SERVICE: u16 = 1;
pub const DESTINATION: u16 = 2;
pub const TIMEOUT_TCP: u16 = 4;
pub const TIMEOUT_TCP_FIN: u16 = 5;
pub const TIMEOUT_UDP: u16 = 6;

/// Attributes of a service.
pub const SERVICE_FAMILY: u16 = 1;
pub const SERVICE_PROTOCOL: u16 = 2;
pub const SERVICE_ADDRESS: u16 = 3;
pub const SERVICE_PORT: u16 = 4;
pub const SERVICE_MARK: u16 = 5;
pub const SERVICE_SCHEDULER: u16 = 6;
pub const SERVICE_FLAGS: u16 = 7;
pub const SERVICE_TIMEOUT: u16 = 8;
pub const SERVICE_NETMASK: u16 = 9;
pub const SERVICE_STATS: u16 = 10;
pub const SERVICE_ENGINE: u16 = 11;
pub const SERVICE_STATS64: u16 = 12;

/// Attributes of a destination.
pub const DESTINATION_ADDRESS: u16 = 1;
pub const DESTINATION_PORT: u16 = 2;
pub const DESTINATION_FORWARDING: u16 = 3;
pub const DESTINATION_WEIGHT: u16 = 4;
pub const DESTINATION_UPPER: u16 = 5;
pub const DESTINATION_LOWER: u16 = 6;
pub const DESTINATION_ACTIVE: u16 = 7;
pub const DESTINATION_INACTIVE: u16 = 8;
pub const DESTINATION_PERSISTENT: u16 = 9;
pub const DESTINATION_STATS: u16 = 10;
pub const DESTINATION_FAMILY: u16 = 11;
pub const DESTINATION_STATS64: u16 = 12;

/// Attributes of statistics, the first five of them: what has passed.
pub const CONNECTIONS: u16 = 1;
pub const BYTES_OUT: u16 = 5;

/// The bit of a service's flags that is the kernel's own.
pub const HASHED: u32 = 2;
