// SPDX-License-Identifier: Apache-2.0
//! Builds netlink messages: a header, four bytes of the subsystem's own, then attributes, all padded to four bytes.

/// The longest content one attribute can have: its length field is 16 bits and counts the header.
pub const LONGEST_ATTRIBUTE: usize = u16::MAX as usize - ATTRIBUTE_HEADER;

/// Bytes before an attribute's content.
pub const ATTRIBUTE_HEADER: usize = 4;

/// Bytes before a message's attributes: `nlmsghdr`, and `nfgenmsg` or `genlmsghdr`.
pub const MESSAGE_HEADER: usize = 20;

/// The bit of an attribute's kind which says that its content is attributes.
pub const NESTED: u16 = 1 << 15;

/// What stands before a message's attributes.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// netfilter: subsystem in the high byte, message in the low one; generic netlink: the family's number.
    pub kind: u16,
    /// `NLM_F_*`; `NLM_F_REQUEST` is added.
    pub flags: u16,
    /// The number errors and answers come back with.
    pub sequence: u32,
    /// The four bytes between the header and the attributes.
    pub own: [u8; 4],
}

/// The attributes under construction in a message or in another attribute.
pub struct Body<'a>(&'a mut Vec<u8>);

/// netfilter's own bytes: an address family, or 0; the subsystem in a batch's first and last message, else 0.
pub const fn netfilter(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// Generic netlink's own bytes.
pub const fn generic(command: u8, version: u8) -> [u8; 4] {
    [command, version, 0, 0]
}

/// Round up to what netlink aligns to.
pub const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// Append one message to `buffer`.
pub fn append(buffer: &mut Vec<u8>, header: Header, body: impl FnOnce(&mut Body<'_>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&0_u32.to_ne_bytes());
    buffer.extend_from_slice(&header.kind.to_ne_bytes());
    buffer.extend_from_slice(&(header.flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
    buffer.extend_from_slice(&header.sequence.to_ne_bytes());
    buffer.extend_from_slice(&0_u32.to_ne_bytes());
    buffer.extend_from_slice(&header.own);
    body(&mut Body(buffer));
    let length = (buffer.len() - start) as u32;
    buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

impl<'a> Body<'a> {
    /// Attributes without a message around them, kept to be put into one later by `splice`.
    pub fn loose(buffer: &'a mut Vec<u8>) -> Self {
        Self(buffer)
    }

    /// Append one attribute.
    pub fn put(&mut self, kind: u16, content: &[u8]) {
        debug_assert!(content.len() <= LONGEST_ATTRIBUTE);
        self.0.extend_from_slice(&((ATTRIBUTE_HEADER + content.len()) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(content);
        self.pad();
    }

    /// Append a string as the kernel wants it, with a zero at its end.
    pub fn put_text(&mut self, kind: u16, text: &str) {
        debug_assert!(text.len() < LONGEST_ATTRIBUTE);
        self.0.extend_from_slice(&((ATTRIBUTE_HEADER + text.len() + 1) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self.pad();
    }

    /// Append an attribute whose content is attributes.
    pub fn nest(&mut self, kind: u16, content: impl FnOnce(&mut Body<'_>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&0_u16.to_ne_bytes());
        self.0.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        content(&mut Body(self.0));
        let length = self.0.len() - start;
        debug_assert!(u16::try_from(length).is_ok());
        self.0[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
    }

    /// Append attributes that were built before.
    pub fn splice(&mut self, attributes: &[u8]) {
        self.0.extend_from_slice(attributes);
    }

    fn pad(&mut self) {
        self.0.resize(aligned(self.0.len()), 0);
    }
}
