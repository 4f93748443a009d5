// SPDX-License-Identifier: Apache-2.0
//! How much the kernel keeps for us of a source whose sink takes nothing.
//!
//! The kernel makes a receive buffer larger whenever it is full, read or not, up to `tcp_rmem`: 32 MiB on recent kernels,
//! for every connection whose reader is stuck. Room beyond what was needed while bytes moved would only be filled.

use std::os::fd::AsFd;

use crate::sys::socket;

/// A buffer smaller than this may grow as the kernel likes: what `tcp_rmem` allowed for years.
const ENOUGH: libc::c_int = 6 << 20;

/// `SO_BUF_LOCK` (Linux 5.14) and its `SOCK_RCVBUF_LOCK`, of <linux/socket.h>.
const BUF_LOCK: (libc::c_int, libc::c_int) = (72, 2);

/// The sink is full. True: the source's buffer is large enough and grows no more.
pub fn bound(source: impl AsFd + Copy) -> bool {
    bound_from(source, ENOUGH)
}

fn bound_from(source: impl AsFd + Copy, enough: libc::c_int) -> bool {
    let large = socket::option(source, libc::SOL_SOCKET, libc::SO_RCVBUF).is_ok_and(|bytes| bytes >= enough);
    if large {
        // Older kernels cannot; it stays as large as they make it.
        let _ = socket::set_option(source, libc::SOL_SOCKET, BUF_LOCK.0, BUF_LOCK.1);
    }
    large
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_the_kernels_to_enlarge_until_it_is_large_enough() {
        let source = socket::open(libc::AF_INET, libc::SOCK_STREAM).unwrap();
        let of = |name| socket::option(&source, libc::SOL_SOCKET, name).unwrap();
        let size = of(libc::SO_RCVBUF);
        assert!(!bound_from(&source, size + 1));
        assert_eq!(of(BUF_LOCK.0), 0);
        assert!(bound_from(&source, size));
        assert_eq!((of(BUF_LOCK.0), of(libc::SO_RCVBUF)), (BUF_LOCK.1, size));
    }
}
