// SPDX-License-Identifier: Apache-2.0
//! The system calls, and nothing but them: every line of `unsafe` in this crate is here.

#![expect(unsafe_code, reason = "libc's functions are unsafe to call; this is their one home")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// One instruction of a classic BPF program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// Instructions to skip when the comparison holds.
    pub yes: u8,
    /// Instructions to skip when it does not.
    pub no: u8,
    /// The operand.
    pub operand: u32,
}

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

/// Open a netlink socket in the calling thread's network namespace and let the kernel choose its port.
pub fn open(bus: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket() takes no pointers.
    let number = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, bus) };
    check(number)?;
    // SAFETY: socket() has just returned this descriptor; nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let address = own_address();
    // SAFETY: the pointer is to a sockaddr_nl that outlives the call, and the length is that of the type.
    check(unsafe { libc::bind(number, (&raw const address).cast(), length::<libc::sockaddr_nl>()) })?;
    Ok(socket)
}

fn own_address() -> libc::sockaddr_nl {
    // SAFETY: sockaddr_nl is plain integers; all zeros is valid.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address
}

/// The port the kernel chose.
pub fn port(socket: &OwnedFd) -> io::Result<u32> {
    let mut address = own_address();
    let mut size = length::<libc::sockaddr_nl>();
    // SAFETY: both pointers are to locals of the types getsockname() fills, and the size is that of the address.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut size) })?;
    Ok(address.nl_pid)
}

/// Set an integer option.
pub fn set_option(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    set_raw_option(socket, level, name, &value)
}

/// Read an integer option.
pub fn option(socket: &OwnedFd, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut size = length::<libc::c_int>();
    // SAFETY: the kernel writes at most `size` bytes, the size of the integer, which outlives the call.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut size) })?;
    Ok(value)
}

/// Let an answer that does not come within `seconds` be an error.
pub fn set_patience(socket: &OwnedFd, seconds: i64) -> io::Result<()> {
    set_raw_option(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &libc::timeval { tv_sec: seconds, tv_usec: 0 })
}

/// Have the kernel run a classic BPF program over what would be queued, in place of the one before.
pub fn attach_filter(socket: &OwnedFd, program: &[Instruction]) -> io::Result<()> {
    let mut code: Vec<libc::sock_filter> = program
        .iter()
        .map(|each| libc::sock_filter { code: each.code, jt: each.yes, jf: each.no, k: each.operand })
        .collect();
    let program = libc::sock_fprog { len: code.len() as libc::c_ushort, filter: code.as_mut_ptr() };
    set_raw_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

fn set_raw_option<T>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer is to a live T and the length is T's; the kernel only reads. A sock_fprog's own pointer is to a
    // vector that its caller keeps alive over this call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length::<T>()) })
}

/// Send one datagram to the kernel, which has dealt with its requests when this returns.
pub fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of a live slice; the kernel only reads.
    counted(unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) })
}

/// Receive one datagram: its whole length, be it longer than the buffer, and the port of its sender (0: the kernel).
pub fn receive(socket: &OwnedFd, buffer: &mut [u8], wait: bool) -> io::Result<(usize, u32)> {
    let flags = libc::MSG_TRUNC | if wait { 0 } else { libc::MSG_DONTWAIT };
    let mut sender = own_address();
    let mut size = length::<libc::sockaddr_nl>();
    // SAFETY: the buffer's pointer and length are those of a live, exclusively borrowed slice; the address and its size
    // are locals of the types recvfrom() fills.
    let received = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            flags,
            (&raw mut sender).cast(),
            &raw mut size,
        )
    };
    Ok((counted(received)?, sender.nl_pid))
}
