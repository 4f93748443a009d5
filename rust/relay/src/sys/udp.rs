// SPDX-License-Identifier: Apache-2.0
//! Many datagrams a call, each with what the kernel tells or is told beside it.

use std::io::{self, IoSlice};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use super::address::Raw;

/// Datagrams taken at a time.
pub const MOST: usize = 64;

/// Bytes of the longest datagram, and of the longest one merged from several.
pub const LONGEST: usize = 65_536;

/// Bytes beside a datagram: an address and a number, each with its head, have room.
const BESIDE: usize = 128;

/// Bytes of a control message's head, and to what its length is rounded up.
const HEAD: usize = size_of::<libc::cmsghdr>();
const ALIGNED: usize = size_of::<usize>();

/// Room for control messages, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; BESIDE]);

/// Room for datagrams. What is never filled takes no memory.
pub struct Batch {
    payloads: Vec<u8>,
    controls: Vec<Control>,
    senders: Vec<Raw>,
    shapes: Vec<Shape>,
}

/// How much of the room a datagram has taken.
#[derive(Clone, Copy, Default)]
struct Shape {
    payload: usize,
    control: usize,
    flags: libc::c_int,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            payloads: vec![0; MOST * LONGEST],
            controls: vec![Control([0; BESIDE]); MOST],
            senders: vec![Raw::empty(); MOST],
            shapes: vec![Shape::default(); MOST],
        }
    }
}

impl Batch {
    /// Take what has arrived, in place of what was there. Returns how many it is.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; MOST];
        // SAFETY: mmsghdr is plain integers and pointers; all zeros is valid.
        let mut headers: [libc::mmsghdr; MOST] = unsafe { std::mem::zeroed() };
        for (index, payload) in self.payloads.chunks_exact_mut(LONGEST).enumerate() {
            vectors[index] = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: LONGEST };
            let header = &mut headers[index].msg_hdr;
            header.msg_name = (&raw mut self.senders[index].storage).cast();
            header.msg_namelen = super::length::<libc::sockaddr_in6>();
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = BESIDE as _;
        }
        let number = socket.as_fd().as_raw_fd();
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: every header points to live room of the length it tells, exclusively borrowed with `self`.
        let count = unsafe { libc::recvmmsg(number, headers.as_mut_ptr(), MOST as _, flags as _, std::ptr::null_mut()) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (index, header) in headers[..count].iter().enumerate() {
            self.senders[index].length = header.msg_hdr.msg_namelen;
            self.shapes[index] = Shape {
                payload: header.msg_len as usize,
                control: header.msg_hdr.msg_controllen,
                flags: header.msg_hdr.msg_flags,
            };
        }
        Ok(count)
    }

    /// A datagram's bytes.
    pub fn payload(&self, index: usize) -> &[u8] {
        &self.payloads[index * LONGEST..][..self.shapes[index].payload.min(LONGEST)]
    }

    /// What the kernel told beside it.
    pub fn control(&self, index: usize) -> &[u8] {
        &self.controls[index].0[..self.shapes[index].control.min(BESIDE)]
    }

    /// Who sent it.
    pub fn sender(&self, index: usize) -> Option<SocketAddr> {
        self.senders[index].read()
    }

    /// Whether some of it had no room.
    pub fn cut(&self, index: usize) -> bool {
        self.shapes[index].flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0
    }
}

/// One datagram, or several of one size for one peer, to be sent.
pub struct Outgoing<'a> {
    /// Where to; None where the socket has a peer.
    pub to: Option<Raw>,
    /// From which of this host's addresses, if the socket has none.
    pub from: Option<Ipv6Addr>,
    /// The bytes, one after the other.
    pub parts: &'a [IoSlice<'a>],
    /// The size to cut them into; 0: they are one datagram.
    pub segment: u16,
}

/// Send so many of them as there is room for. An error is that of the first one.
pub fn send(socket: impl AsFd, messages: &[Outgoing<'_>]) -> io::Result<usize> {
    let messages = &messages[..messages.len().min(MOST)];
    let mut controls: Vec<(Control, usize)> = messages.iter().map(control).collect();
    let mut headers: Vec<libc::mmsghdr> = Vec::with_capacity(messages.len());
    for (message, (control, length)) in messages.iter().zip(&mut controls) {
        // SAFETY: mmsghdr is plain integers and pointers; all zeros is valid.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        if let Some(to) = &message.to {
            header.msg_hdr.msg_name = (&raw const to.storage).cast_mut().cast();
            header.msg_hdr.msg_namelen = to.length;
        }
        // An IoSlice is an iovec: the standard library promises it.
        header.msg_hdr.msg_iov = message.parts.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_iovlen = message.parts.len() as _;
        if *length > 0 {
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = *length as _;
        }
        headers.push(header);
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: every header points to live bytes of the length it tells; the kernel only reads them, and writes the lengths
    // it has sent into the headers, which are exclusively owned here.
    let sent = unsafe { libc::sendmmsg(number, headers.as_mut_ptr(), headers.len() as _, flags as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// What is told beside a datagram, and how long that is.
fn control(message: &Outgoing<'_>) -> (Control, usize) {
    let mut control = Control([0; BESIDE]);
    let mut length = 0;
    let mut add = |level: libc::c_int, kind: libc::c_int, data: &[u8]| {
        let told = HEAD + data.len();
        let room = &mut control.0[length..];
        room[..ALIGNED].copy_from_slice(&told.to_ne_bytes());
        room[ALIGNED..][..4].copy_from_slice(&level.to_ne_bytes());
        room[ALIGNED + 4..][..4].copy_from_slice(&kind.to_ne_bytes());
        room[HEAD..][..data.len()].copy_from_slice(data);
        length += told.next_multiple_of(ALIGNED);
    };
    if message.segment > 0 {
        add(libc::SOL_UDP, libc::UDP_SEGMENT, &message.segment.to_ne_bytes());
    }
    if let Some(from) = message.from {
        let mut data = [0; 20];
        data[..16].copy_from_slice(&from.octets());
        add(libc::SOL_IPV6, libc::IPV6_PKTINFO, &data);
    }
    (control, length)
}
