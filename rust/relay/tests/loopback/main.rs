// SPDX-License-Identifier: Apache-2.0
//! Connections through a relay on this host's own addresses: what arrives, how it ends, and who is dialled.

mod drain;
mod endpoints;
mod half_close;
mod handover;
mod headers;
mod limits;
mod resets;
mod site;
mod streams;
