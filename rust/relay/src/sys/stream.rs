// SPDX-License-Identifier: Apache-2.0
//! Bytes of a connection, in and out.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::{check, counted};

/// Read what has come: 0 bytes at the end.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the pointer and the length are those of a live, exclusively borrowed slice.
    counted(unsafe { libc::recv(number, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

/// Send what the kernel takes. With `more` it may wait for what follows before a packet leaves.
pub fn send(socket: impl AsFd, bytes: &[u8], more: bool) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    // SAFETY: the pointer and the length are those of a live slice; the kernel only reads.
    counted(unsafe { libc::send(socket.as_fd().as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Say that nothing more will be sent.
pub fn finish(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: shutdown() takes no pointers.
    check(unsafe { libc::shutdown(socket.as_fd().as_raw_fd(), libc::SHUT_WR) })
}

/// The bytes that were sent and that the peer has not confirmed.
pub fn unconfirmed(socket: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one integer, to a local that outlives the call.
    check(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or_default())
}

/// Whether the connection is gone: whatever was sent will not be confirmed any more.
pub fn gone(socket: impl AsFd) -> io::Result<bool> {
    // What the kernel tells of a connection begins with its state, in one byte; `TCP_CLOSE` is the seventh.
    const CLOSED: u8 = 7;
    let mut state: u8 = 0;
    let mut size: libc::socklen_t = 1;
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `size` bytes, the size of the local, which outlives the call.
    let asked =
        unsafe { libc::getsockopt(number, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut state).cast(), &raw mut size) };
    check(asked)?;
    Ok(state == CLOSED)
}
