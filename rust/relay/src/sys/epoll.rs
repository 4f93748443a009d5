// SPDX-License-Identifier: Apache-2.0
//! Waiting for many descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{check, owned};

/// What has happened to one descriptor: its flags, and the number it was added with.
pub type Event = libc::epoll_event;

/// An event's room before anything happened.
pub const NOTHING: Event = Event { events: 0, u64: 0 };

/// Open one.
pub fn open() -> io::Result<OwnedFd> {
    // SAFETY: epoll_create1() takes no pointers.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// Add (`EPOLL_CTL_ADD`), change (`EPOLL_CTL_MOD`) or remove (`EPOLL_CTL_DEL`) a descriptor.
pub fn control(epoll: &OwnedFd, operation: libc::c_int, of: impl AsFd, flags: u32, number: u64) -> io::Result<()> {
    let mut event = Event { events: flags, u64: number };
    let of = of.as_fd().as_raw_fd();
    // SAFETY: the pointer is to a local that outlives the call; the kernel only reads it.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, of, &raw mut event) })
}

/// Wait until something happens or this many milliseconds pass (-1: for ever), and return how many events were written.
pub fn wait(epoll: &OwnedFd, events: &mut [Event], milliseconds: i32) -> io::Result<usize> {
    let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
    // SAFETY: the pointer and the length are those of a live, exclusively borrowed slice.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, milliseconds) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
