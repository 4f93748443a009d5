// SPDX-License-Identifier: Apache-2.0
//! Descriptors sent over a Unix socket, beside bytes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::counted;

/// Descriptors one message carries at most; the kernel's own limit is 253.
pub const MOST: usize = 128;

/// Room for the control message of that many, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 16 + MOST * size_of::<RawFd>()]);

fn message(bytes: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: msghdr is plain integers and pointers; all zeros is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = bytes;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    message
}

/// Send bytes and descriptors in one message.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<usize> {
    if descriptors.len() > MOST {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let mut control = Control([0; 16 + MOST * size_of::<RawFd>()]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message = message(&mut part, &mut control);
    let size = (size_of_val(descriptors)) as libc::c_uint;
    // SAFETY: the control buffer is aligned and has room for a header and MOST descriptors; all pointers are to locals.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(size) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
        std::ptr::copy_nonoverlapping(descriptors.as_ptr().cast(), libc::CMSG_DATA(header), size as usize);
    }
    // SAFETY: the message and everything it points to are live; the kernel only reads.
    counted(unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) })
}

/// Receive one message: how many bytes were written, and the descriptors that came with them.
pub fn receive(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = Control([0; 16 + MOST * size_of::<RawFd>()]);
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut message = message(&mut part, &mut control);
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the message and everything it points to are live and exclusively borrowed.
    let count = counted(unsafe { libc::recvmsg(number, &raw mut message, libc::MSG_CMSG_CLOEXEC) })?;
    let mut descriptors = Vec::new();
    // SAFETY: the kernel has filled the control buffer and its length; CMSG_* stay within them. Descriptors of a rights
    // message are new in this process and nothing else owns them.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<[u8; size_of::<RawFd>()]>();
                let size = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
                for index in 0..size / size_of::<RawFd>() {
                    let number = RawFd::from_ne_bytes(data.add(index).read());
                    descriptors.push(OwnedFd::from_raw_fd(number));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok((count, descriptors))
}
