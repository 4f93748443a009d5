// SPDX-License-Identifier: Apache-2.0
//! The description that travels beside the sockets.

use super::{describe, understand, Inherited};
use crate::listen::Bound;
use crate::table::{Protocol, Scope};
use std::os::unix::net::UnixDatagram;

#[test]
fn a_description_says_what_each_socket_is() {
    let sockets = [(Protocol::Tcp, Scope::All), (Protocol::Udp, Scope::Local), (Protocol::Tcp, Scope::Local)];
    assert_eq!(understand(&describe(sockets.into_iter())).unwrap(), sockets);
}

#[test]
fn another_version_is_refused_by_name() {
    for bytes in [&b""[..], b"kprelay", b"kprelay\x02\0\0", b"kprelay\x01\0", b"kprelay\x01\0\x02"] {
        assert!(understand(bytes).unwrap_err().text.contains("version"), "{bytes:?}");
    }
}

#[test]
fn sockets_arrive_as_what_they_were_sent_as() {
    let (here, there) = UnixDatagram::pair().unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    let sent = Inherited { sockets: vec![Bound { protocol: Protocol::Udp, scope: Scope::Local, socket: socket.into() }] };

    sent.send(&here).unwrap();
    let received = Inherited::receive(&there).unwrap();

    assert_eq!(received.sockets.len(), 1);
    assert_eq!((received.sockets[0].protocol, received.sockets[0].scope), (Protocol::Udp, Scope::Local));
}

#[test]
fn a_description_without_its_sockets_is_refused() {
    let (here, there) = UnixDatagram::pair().unwrap();
    here.send(&describe([(Protocol::Tcp, Scope::All)].into_iter())).unwrap();
    assert!(Inherited::receive(&there).is_err());
}
