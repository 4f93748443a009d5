// SPDX-License-Identifier: Apache-2.0
//! The numbers of nftables' netlink interface, from the kernel's `linux/netfilter/nf_tables.h` and `nfnetlink.h`.

use libc::{NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN, NFT_MSG_GETSETELEM, NFT_MSG_GETTABLE};

pub const SUBSYSTEM: u16 = NFNL_SUBSYS_NFTABLES as u16;
pub const BATCH_BEGIN: u16 = libc::NFNL_MSG_BATCH_BEGIN as u16;
pub const BATCH_END: u16 = libc::NFNL_MSG_BATCH_END as u16;
pub const GROUP: i32 = 7; // NFNLGRP_NFTABLES

pub const NEW_ELEMENT: u16 = kind(libc::NFT_MSG_NEWSETELEM);
pub const GET_ELEMENT: u16 = kind(NFT_MSG_GETSETELEM);
pub const DELETE_ELEMENT: u16 = kind(libc::NFT_MSG_DELSETELEM);
pub const NEW_TABLE: u16 = kind(libc::NFT_MSG_NEWTABLE);
pub const GET_TABLE: u16 = kind(NFT_MSG_GETTABLE);
pub const NEW_RULE: u16 = kind(libc::NFT_MSG_NEWRULE);
pub const GET_RULE: u16 = kind(libc::NFT_MSG_GETRULE);
pub const GET_SET: u16 = kind(libc::NFT_MSG_GETSET);
pub const NEW_GENERATION: u16 = kind(libc::NFT_MSG_NEWGEN);
pub const GET_GENERATION: u16 = kind(NFT_MSG_GETGEN);

/// The name of the table: number 1 in messages of every kind.
pub const TABLE: u16 = 1;
pub const GENERATION_ID: u16 = 1;
pub const GENERATION_PROCESS: u16 = 2;
pub const GENERATION_PROGRAM: u16 = 3;

pub const LIST_SET: u16 = 2;
pub const LIST_ELEMENTS: u16 = 3;
pub const LIST_ELEMENT: u16 = 1;

pub const ELEMENT_KEY: u16 = 1;
pub const ELEMENT_DATA: u16 = 2;
pub const ELEMENT_TIMEOUT: u16 = 4;
pub const ELEMENT_EXPIRATION: u16 = 5;
pub const ELEMENT_EXPRESSION: u16 = 7;
pub const ELEMENT_KEY_END: u16 = 10;
pub const ELEMENT_EXPRESSIONS: u16 = 11;

pub const CHAIN_NAME: u16 = 3;
pub const RULE_CHAIN: u16 = 2;
pub const RULE_HANDLE: u16 = 3;
pub const RULE_EXPRESSIONS: u16 = 4;
pub const RULE_POSITION: u16 = 6;

pub const DATA_VALUE: u16 = 1;

pub const EXPRESSION_NAME: u16 = 1;
pub const EXPRESSION_DATA: u16 = 2;
pub const COUNTER_BYTES: u16 = 1;
pub const COUNTER_PACKETS: u16 = 2;

/// The longest name of a table or set, without its final zero (`NFT_NAME_MAXLEN`).
pub const LONGEST_NAME: usize = 255;

/// The longest key or data of an element (`NFT_DATA_VALUE_MAXLEN`).
pub const LONGEST_VALUE: usize = 64;

#[expect(clippy::cast_sign_loss, reason = "message numbers are small and positive")]
const fn kind(message: libc::c_int) -> u16 {
    (SUBSYSTEM << 8) | message as u16
}
