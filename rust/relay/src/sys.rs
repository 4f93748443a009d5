// SPDX-License-Identifier: Apache-2.0
//! The system calls, and nothing but them: every line of `unsafe` in this crate is here and below.
//!
//! - `address`: addresses as the kernel writes them
//! - `socket`: sockets and their options; `stream`: bytes of a connection; `udp`: datagrams
//! - `epoll`, `event`: waiting, and being woken
//! - `pipe`: pipes and splicing; `rights`: descriptors sent over a Unix socket
//! - `process`: CPUs and limits

#![expect(unsafe_code, reason = "libc's functions are unsafe to call; this is their one home")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

pub mod address;
pub mod epoll;
pub mod event;
pub mod pipe;
pub mod process;
pub mod rights;
pub mod socket;
pub mod stream;
pub mod udp;

fn length<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn counted(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn owned(result: libc::c_int) -> io::Result<OwnedFd> {
    check(result)?;
    // SAFETY: the kernel has just returned this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}
