// SPDX-License-Identifier: Apache-2.0
//! The numbers of conntrack's netlink interface, from the kernel's `linux/netfilter/nfnetlink_conntrack.h`.

const SUBSYSTEM: u16 = 1; // NFNL_SUBSYS_CTNETLINK

pub const NEW: u16 = SUBSYSTEM << 8;
pub const GET: u16 = (SUBSYSTEM << 8) | 1;
pub const DELETE: u16 = (SUBSYSTEM << 8) | 2;

pub const ORIGINAL: u16 = 1; // CTA_TUPLE_ORIG
pub const REPLY: u16 = 2; // CTA_TUPLE_REPLY
pub const STATUS: u16 = 3;
pub const ID: u16 = 12;
pub const ZONE: u16 = 18;
pub const FILTER: u16 = 25;

pub const TUPLE_ADDRESSES: u16 = 1; // CTA_TUPLE_IP
pub const TUPLE_PROTOCOL: u16 = 2; // CTA_TUPLE_PROTO

pub const SOURCE_V4: u16 = 1;
pub const DESTINATION_V4: u16 = 2;
pub const SOURCE_V6: u16 = 3;
pub const DESTINATION_V6: u16 = 4;

pub const PROTOCOL: u16 = 1;
pub const SOURCE_PORT: u16 = 2;
pub const DESTINATION_PORT: u16 = 3;

/// Which parts of the original tuple a dump is to be filtered by.
pub const FILTER_ORIGINAL: u16 = 1;
pub const BY_DESTINATION: u32 = 1 << 1;
pub const BY_PROTOCOL: u32 = 1 << 3;
pub const BY_DESTINATION_PORT: u32 = 1 << 5;
