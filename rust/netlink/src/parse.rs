// SPDX-License-Identifier: Apache-2.0
//! Reads messages and attributes. What is cut short ends the reading; nothing that can arrive makes it panic.

use std::net::IpAddr;

use crate::message::{aligned, ATTRIBUTE_HEADER, MESSAGE_HEADER, NESTED};

const NETLINK_HEADER: usize = 16;
const ERROR_TEXT: u16 = 1; // NLMSGERR_ATTR_MSG
const ERROR_OFFSET: u16 = 2; // NLMSGERR_ATTR_OFFS
const KIND_MASK: u16 = !(NESTED | (1 << 14));

/// One message of a datagram.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Subsystem in the high byte, message in the low one; below 16 netlink's own.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// The request's number.
    pub sequence: u32,
    /// The port of the socket whose request it answers or tells of.
    pub port: u32,
    /// Everything after netlink's header.
    pub payload: &'a [u8],
}

/// One attribute.
#[derive(Debug, Clone, Copy)]
pub struct Attribute<'a> {
    /// Its kind, without flag bits.
    pub kind: u16,
    /// Its content.
    pub content: &'a [u8],
    /// Where its header starts, from the start of the bytes that are read.
    pub offset: usize,
}

/// What the kernel says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// 0: done; else the error number.
    pub errno: i32,
    /// The kernel's own sentence, where it has one.
    pub text: Option<String>,
    /// Where in the request the attribute at fault starts, from the request's first byte.
    pub offset: Option<usize>,
}

/// The messages of a datagram.
pub struct Messages<'a>(&'a [u8]);

/// The attributes of a message or of another attribute.
pub struct Attributes<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// Read the messages of a datagram.
pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages(datagram)
}

/// Read attributes.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { bytes, offset: 0 }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.0;
        let length = u32_at(bytes, 0)? as usize;
        let payload = bytes.get(NETLINK_HEADER..length)?;
        self.0 = bytes.get(aligned(length)..).unwrap_or_default();
        Some(Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            port: u32_at(bytes, 12)?,
            payload,
        })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.bytes;
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & KIND_MASK;
        let content = bytes.get(ATTRIBUTE_HEADER..length)?;
        let offset = self.offset;
        self.bytes = bytes.get(aligned(length)..).unwrap_or_default();
        self.offset += aligned(length);
        Some(Attribute { kind, content, offset })
    }
}

impl<'a> Message<'a> {
    /// The address family of a netfilter message; the command of a generic one.
    pub fn family(&self) -> u8 {
        self.payload.first().copied().unwrap_or_default()
    }

    /// The attributes of a netfilter message or a generic one.
    pub fn attributes(&self) -> Attributes<'a> {
        attributes(self.payload.get(MESSAGE_HEADER - NETLINK_HEADER..).unwrap_or_default())
    }

    /// Read an error message, or the end of a dump, which may carry an error too.
    pub fn verdict(&self) -> Option<Verdict> {
        let errno = i32::from_ne_bytes(self.payload.get(..4)?.try_into().ok()?).checked_neg()?;
        let mut verdict = Verdict { errno, text: None, offset: None };
        if self.flags & libc::NLM_F_ACK_TLVS as u16 != 0 {
            let skipped = if i32::from(self.kind) == libc::NLMSG_DONE {
                4
            } else if self.flags & libc::NLM_F_CAPPED as u16 != 0 {
                4 + NETLINK_HEADER
            } else {
                4 + aligned(u32_at(self.payload, 4)? as usize)
            };
            for attribute in attributes(self.payload.get(skipped..).unwrap_or_default()) {
                match attribute.kind {
                    ERROR_TEXT => verdict.text = Some(attribute.text()),
                    ERROR_OFFSET => verdict.offset = u32_at(attribute.content, 0).map(|at| at as usize),
                    _ => {}
                }
            }
        }
        Some(verdict)
    }
}

impl<'a> Attribute<'a> {
    /// The attributes in it.
    pub fn nested(&self) -> Attributes<'a> {
        attributes(self.content)
    }

    /// Its content as text, up to the first zero.
    pub fn text(&self) -> String {
        let text = self.content.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// Its content as a number in network order, if it is one of 16 bits.
    pub fn u16(&self) -> Option<u16> {
        Some(u16::from_be_bytes(self.content.try_into().ok()?))
    }

    /// Its content as a number in network order, if it is one of 32 bits.
    pub fn u32(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.content.try_into().ok()?))
    }

    /// Its content as a number in network order, if it is one of 64 bits.
    pub fn u64(&self) -> Option<u64> {
        Some(u64::from_be_bytes(self.content.try_into().ok()?))
    }

    /// Its content as a number in this machine's order, if it is one of 16, 32 or 64 bits.
    pub fn native(&self) -> Option<u64> {
        match *self.content {
            [a, b] => Some(u16::from_ne_bytes([a, b]).into()),
            [a, b, c, d] => Some(u32::from_ne_bytes([a, b, c, d]).into()),
            _ => Some(u64::from_ne_bytes(self.content.try_into().ok()?)),
        }
    }

    /// Its content as an address, of the family that says how many of its bytes count.
    pub fn address(&self, family: u8) -> Option<IpAddr> {
        if i32::from(family) == libc::AF_INET6 {
            Some(<[u8; 16]>::try_from(self.content.get(..16)?).ok()?.into())
        } else {
            Some(<[u8; 4]>::try_from(self.content.get(..4)?).ok()?.into())
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
