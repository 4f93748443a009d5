// SPDX-License-Identifier: Apache-2.0
//! An endpoint that asks for it is told who its client is, before the client's first word.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::channel;

use relay::proxy_protocol;

use crate::site::{config, endpoint, rest, Site};

#[test]
fn a_header_comes_first_whoever_speaks_first() {
    let (told, heard) = channel();
    let server = endpoint(move |mut stream| {
        stream.write_all(b"hello").unwrap();
        told.send(rest(&mut stream).0).unwrap();
    });
    let site = Site::start(config(), &[server]);
    site.change(&[server], |service| service.proxy_protocol = true);

    for said in [Vec::new(), b"a request".to_vec(), vec![7; 300_000]] {
        let mut client = site.dial();
        client.write_all(&said).unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();

        let bytes = heard.recv().unwrap();
        let header = proxy_protocol::understand(&bytes).unwrap();

        assert_eq!(header.client, client.local_addr().unwrap());
        assert_eq!(header.dialled, site.address());
        assert!(bytes[header.length..] == said);
    }
}
