// SPDX-License-Identifier: Apache-2.0
//! A descriptor by which one thread wakes another.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::{counted, owned};

/// Open one.
pub fn open() -> io::Result<OwnedFd> {
    // SAFETY: eventfd() takes no pointers.
    owned(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })
}

/// Wake whoever waits for it.
pub fn signal(event: &OwnedFd) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the pointer and the length are those of a live array. It fails only where the counter is full: awake already.
    let _ = counted(unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) });
}

/// Take the signals that were given.
pub fn clear(event: &OwnedFd) {
    let mut count = [0_u8; 8];
    // SAFETY: the pointer and the length are those of a live array. It fails only where there was no signal.
    let _ = counted(unsafe { libc::read(event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) });
}
