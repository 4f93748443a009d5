// SPDX-License-Identifier: Apache-2.0
//! Sockets and their options.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::address::Raw;
use super::{check, length, owned};

/// One instruction of a classic BPF program: the operation and its operand.
pub type Instruction = (u16, u32);

/// Open a socket that never blocks.
pub fn open(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket() takes no pointers.
    owned(unsafe { libc::socket(family, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) })
}

/// Open a socket that sends whole packets, heads and all.
pub fn open_raw(family: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket() takes no pointers.
    owned(unsafe { libc::socket(family, kind, libc::IPPROTO_RAW) })
}

/// Give it an address of its own.
pub fn bind(socket: impl AsFd, address: &Raw) -> io::Result<()> {
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the pointer is to a live address that has at least the length given.
    check(unsafe { libc::bind(number, (&raw const address.storage).cast(), address.length) })
}

/// Let it be dialled.
pub fn listen(socket: impl AsFd, backlog: u16) -> io::Result<()> {
    // SAFETY: listen() takes no pointers.
    check(unsafe { libc::listen(socket.as_fd().as_raw_fd(), backlog.into()) })
}

/// Give it a peer. A TCP dial goes on after this returns: `EINPROGRESS` is success.
pub fn connect(socket: impl AsFd, address: &Raw) -> io::Result<()> {
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the pointer is to a live address that has at least the length given.
    match check(unsafe { libc::connect(number, (&raw const address.storage).cast(), address.length) }) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        result => result,
    }
}

/// The next connection and its client, if one waits.
pub fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let mut client = Raw::empty();
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let number = listener.as_fd().as_raw_fd();
    // SAFETY: both pointers are to locals of the types accept4() fills, and the length is that of the address.
    let accepted = unsafe { libc::accept4(number, (&raw mut client.storage).cast(), &raw mut client.length, flags) };
    Ok((owned(accepted)?, client.read()))
}

/// The address a socket is bound to: of an accepted connection, the one that was dialled.
pub fn own_address(socket: impl AsFd) -> io::Result<Option<SocketAddr>> {
    let mut address = Raw::empty();
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: both pointers are to locals of the types getsockname() fills, and the length is that of the address.
    check(unsafe { libc::getsockname(number, (&raw mut address.storage).cast(), &raw mut address.length) })?;
    Ok(address.read())
}

/// The address an accepted connection's client had dialled before rules translated it: an error where none did.
pub fn original_address(socket: impl AsFd, four: bool) -> io::Result<Option<SocketAddr>> {
    // The option has one number for both families.
    let level = if four { libc::SOL_IP } else { libc::SOL_IPV6 };
    let mut address = Raw::empty();
    let number = socket.as_fd().as_raw_fd();
    let (storage, length) = ((&raw mut address.storage).cast(), &raw mut address.length);
    // SAFETY: both pointers are to locals, the kernel writes an address that is no longer than the length given.
    check(unsafe { libc::getsockopt(number, level, libc::SO_ORIGINAL_DST, storage, length) })?;
    Ok(address.read())
}

/// An integer option.
pub fn option(socket: impl AsFd, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value = 0;
    let mut size = length::<libc::c_int>();
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `size` bytes, the size of the local, which outlives the call.
    check(unsafe { libc::getsockopt(number, level, name, (&raw mut value).cast(), &raw mut size) })?;
    Ok(value)
}

/// Set an integer option.
pub fn set_option(socket: impl AsFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    set_raw_option(socket, level, name, &value)
}

/// Have closing the socket reset its connection.
pub fn reset_when_closed(socket: impl AsFd) -> io::Result<()> {
    set_raw_option(socket, libc::SOL_SOCKET, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 })
}

/// Have the kernel choose among the sockets of a port by a classic BPF program.
pub fn steer(socket: impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let mut code: Vec<libc::sock_filter> =
        program.iter().map(|&(code, operand)| libc::sock_filter { code, jt: 0, jf: 0, k: operand }).collect();
    let program = libc::sock_fprog { len: code.len() as libc::c_ushort, filter: code.as_mut_ptr() };
    set_raw_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

fn set_raw_option<T>(socket: impl AsFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the pointer is to a live T and the length is T's; the kernel only reads. A sock_fprog's own pointer is to a
    // vector that its caller keeps alive over this call.
    check(unsafe { libc::setsockopt(number, level, name, std::ptr::from_ref(value).cast(), length::<T>()) })
}
