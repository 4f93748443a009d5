// SPDX-License-Identifier: Apache-2.0
//! One netlink socket: requests go out, answers and refusals come back.
//!
//! The kernel deals with a request inside the call that sends it; its answers are then already queued (a dump refills the
//! queue while it is read). So nothing here waits for anybody but the kernel.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::error::{words, Error, Result};
use crate::parse::{messages, Message, Verdict};
use crate::sys;

/// Room for one datagram. The kernel fills dumps in pieces of at most 32 KiB; anything single is far smaller.
const DATAGRAM: usize = 64 * 1024;

/// How long an answer of the kernel may take before it counts as lost. It is queued when `send` returns; this only keeps
/// a kernel bug from hanging a thread for good.
const PATIENCE_SECONDS: i64 = 10;

/// What a caller wants to happen after it has seen a message of a dump.
pub type Seen = Result<()>;

/// A bound netlink socket of the calling thread's network namespace.
pub struct Socket {
    descriptor: OwnedFd,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

/// How a dump went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dump {
    /// It shows one state of the kernel.
    Whole,
    /// The kernel's state changed meanwhile: things may be missing or twice.
    Torn,
}

impl Socket {
    /// Open a socket of a netlink bus that keeps up to `queue` bytes of answers, or as many as the limits allow.
    pub fn open(bus: i32, queue: i32) -> Result<Self> {
        let failed = |error| Error::system(&error, "opening a netlink socket");
        let socket = sys::open(bus).map_err(failed)?;
        let port = sys::port(&socket).map_err(failed)?;
        // Short refusals that name the attribute at fault. Both options are older than any kernel we run on.
        sys::set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1).map_err(failed)?;
        sys::set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1).map_err(failed)?;
        sys::set_patience(&socket, PATIENCE_SECONDS).map_err(failed)?;
        let opened = Self { descriptor: socket, port, sequence: 0, buffer: vec![0; DATAGRAM] };
        opened.grow(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, queue);
        Ok(opened)
    }

    /// The number by which notifications name this socket.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// The descriptor, for a selector.
    pub fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// Numbers for `count` messages; the first of them is returned. 0, which notifications carry, is never among them.
    pub fn sequences(&mut self, count: u32) -> u32 {
        let first = match self.sequence.checked_add(count) {
            Some(_) => self.sequence + 1,
            None => 1,
        };
        self.sequence = first + count - 1;
        first
    }

    /// Subscribe to a multicast group.
    pub fn join(&self, group: i32) -> Result<()> {
        sys::set_option(&self.descriptor, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)
            .map_err(|error| Error::system(&error, "subscribing to the kernel's notifications"))
    }

    /// Have the kernel drop notifications before they are queued.
    pub fn filter(&self, program: &[sys::Instruction]) -> Result<()> {
        sys::attach_filter(&self.descriptor, program)
            .map_err(|error| Error::system(&error, "filtering the kernel's notifications"))
    }

    /// Make room to send datagrams of `length` bytes; false where the limits forbid.
    pub fn make_room(&self, length: usize) -> bool {
        // The kernel doubles what it is given and wants 32 bytes of it; half of its largest integer is its own limit.
        let Ok(wanted) = i32::try_from(length + 32) else { return false };
        self.room() >= length || {
            self.grow(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, wanted.min(i32::MAX / 2));
            self.room() >= length
        }
    }

    /// The longest datagram that can be sent as things are.
    pub fn room(&self) -> usize {
        let size = sys::option(&self.descriptor, libc::SOL_SOCKET, libc::SO_SNDBUF).unwrap_or_default();
        usize::try_from(size).unwrap_or_default().saturating_sub(32)
    }

    /// Raise a buffer past the system's limit, which takes `CAP_NET_ADMIN`; else up to the limit.
    fn grow(&self, force: i32, plain: i32, size: i32) {
        if sys::set_option(&self.descriptor, libc::SOL_SOCKET, force, size).is_err() {
            let _ = sys::set_option(&self.descriptor, libc::SOL_SOCKET, plain, size);
        }
    }

    /// Send one datagram.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        loop {
            match sys::send(&self.descriptor, bytes) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::system(&error, "sending to the kernel")),
            }
        }
    }

    /// Show the messages of one queued datagram to `see`; None if nothing is queued and `wait` is false.
    ///
    /// `ENOBUFS` is an error: the queue was full and something is lost.
    pub fn receive(&mut self, wait: bool, mut see: impl FnMut(Message<'_>) -> Seen) -> Result<Option<()>> {
        let (length, sender) = loop {
            match sys::receive(&self.descriptor, &mut self.buffer, wait) {
                Ok(received) => break received,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) if !wait => return Ok(None),
                    Some(libc::EAGAIN) => return Err(Error::new(libc::ETIMEDOUT, "the kernel did not answer a request")),
                    Some(libc::ENOBUFS) => {
                        return Err(Error::new(libc::ENOBUFS, "the kernel had more to say than the socket can queue"))
                    }
                    _ => return Err(Error::system(&error, "hearing the kernel's answer")),
                },
            }
        };
        let Some(datagram) = self.buffer.get(..length) else {
            return Err(Error::new(
                libc::EMSGSIZE,
                format!("the kernel sent a message of {length} bytes, more than any we know"),
            ));
        };
        if sender == 0 {
            messages(datagram).try_for_each(&mut see)?;
        }
        Ok(Some(()))
    }

    /// Throw away whatever is queued: answers to a request that was given up.
    pub fn forget(&mut self) {
        loop {
            match self.receive(false, |_| Ok(())) {
                Ok(Some(())) => {}
                Err(error) if error.errno == libc::ENOBUFS => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Send requests that each end in an acknowledgement, of which `last` is the last one's number, and show the answers.
    ///
    /// Returns each request's verdict that is not zero, with its number.
    pub fn request(
        &mut self,
        bytes: &[u8],
        last: u32,
        mut see: impl FnMut(Message<'_>) -> Seen,
    ) -> Result<Vec<(u32, Verdict)>> {
        self.forget();
        self.send(bytes)?;
        let mut refusals = Vec::new();
        let mut ended = false;
        while !ended {
            self.receive(true, |message| {
                if i32::from(message.kind) != libc::NLMSG_ERROR {
                    return see(message);
                }
                if let Some(verdict) = message.verdict() {
                    ended |= message.sequence == last;
                    if verdict.errno != 0 {
                        refusals.push((message.sequence, verdict));
                    }
                }
                Ok(())
            })?;
        }
        Ok(refusals)
    }

    /// Send a request for a dump and show its messages until it ends.
    pub fn dump(
        &mut self,
        bytes: &[u8],
        sequence: u32,
        what: &str,
        mut see: impl FnMut(Message<'_>) -> Seen,
    ) -> Result<Dump> {
        self.forget();
        self.send(bytes)?;
        let mut result = Dump::Whole;
        let mut ended = false;
        while !ended {
            self.receive(true, |message| {
                if message.sequence != sequence {
                    return Ok(());
                }
                if message.flags & libc::NLM_F_DUMP_INTR as u16 != 0 {
                    result = Dump::Torn;
                }
                match i32::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        ended = true;
                        message
                            .verdict()
                            .filter(|verdict| verdict.errno != 0)
                            .map_or(Ok(()), |verdict| Err(verdict.error(what)))
                    }
                    _ => see(message),
                }
            })?;
        }
        Ok(result)
    }
}

impl Verdict {
    /// The error it is, with what was tried: never called on an acknowledgement.
    pub fn error(&self, what: &str) -> Error {
        let kernel = self.text.as_deref().map(|text| format!(" (the kernel says: {text})")).unwrap_or_default();
        Error::new(self.errno, format!("{what}: {}{kernel}", words(self.errno)))
    }
}
