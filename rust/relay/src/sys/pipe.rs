// SPDX-License-Identifier: Apache-2.0
//! Pipes, and bytes that move between a socket and a pipe without being copied.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

use super::{check, counted};

/// Open a pipe: the end to read from and the end to write to.
pub fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: pipe2() writes two descriptors to an array of two.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) })?;
    // SAFETY: pipe2() has just returned these descriptors; nothing else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Ask for room for so many bytes, and return the room there is then.
pub fn resize(pipe: &OwnedFd, bytes: i32) -> io::Result<usize> {
    // SAFETY: both commands take an integer or nothing.
    let room = unsafe {
        libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes);
        libc::fcntl(pipe.as_raw_fd(), libc::F_GETPIPE_SZ)
    };
    usize::try_from(room).map_err(|_| io::Error::last_os_error())
}

/// Move up to `bytes` from one to the other, of which one is a pipe: 0 at the end of what is read.
pub fn splice(from: impl AsFd, to: impl AsFd, bytes: usize) -> io::Result<usize> {
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    // SAFETY: no offsets are passed.
    counted(unsafe { libc::splice(from, null_mut(), to, null_mut(), bytes, flags) })
}
