// SPDX-License-Identifier: Apache-2.0
//! Reads what IPVS holds.

use super::value::{HeldReal, HeldServer, Key};
use super::{wire, Ipvs};
use crate::error::Error;
use crate::parse::Message;
use crate::Result;

/// Seconds an idle connection is kept: TCP, TCP after the end of one side, UDP.
pub type Timeouts = [u32; 3];

const TIMEOUTS: [u16; 3] = [wire::TIMEOUT_TCP, wire::TIMEOUT_TCP_FIN, wire::TIMEOUT_UDP];

impl Ipvs {
    /// Every virtual server. One that comes or goes meanwhile may be missing or twice.
    pub fn servers(&mut self) -> Result<Vec<HeldServer>> {
        let mut servers = Vec::new();
        let sequence = self.socket.sequences(1);
        let mut bytes = Vec::new();
        self.append(&mut bytes, wire::GET_SERVICE, libc::NLM_F_DUMP as u16, sequence, |_| {});
        self.socket.dump(&bytes, sequence, "listing IPVS's virtual servers", |message| {
            servers.extend(server(&message));
            Ok(())
        })?;
        Ok(servers)
    }

    /// The real servers of a virtual server; none where there is no such virtual server.
    pub fn reals(&mut self, key: &Key) -> Result<Vec<HeldReal>> {
        let mut reals = Vec::new();
        let sequence = self.socket.sequences(1);
        let mut bytes = Vec::new();
        self.append(&mut bytes, wire::GET_DESTINATION, libc::NLM_F_DUMP as u16, sequence, |body| {
            body.nest(wire::SERVICE, |body| key.write(body));
        });
        self.socket.dump(&bytes, sequence, "listing the real servers of an IPVS virtual server", |message| {
            reals.extend(real(&message, key.family));
            Ok(())
        })?;
        Ok(reals)
    }

    /// How long idle connections are kept.
    pub fn timeouts(&mut self) -> Result<Timeouts> {
        let mut timeouts = [0; 3];
        let sequence = self.socket.sequences(1);
        let mut bytes = Vec::new();
        self.append(&mut bytes, wire::GET_CONFIG, libc::NLM_F_ACK as u16, sequence, |_| {});
        let refusals = self.socket.request(&bytes, sequence, |message| {
            read_timeouts(&message, &mut timeouts);
            Ok(())
        })?;
        refused(&refusals, "reading IPVS's time-outs")?;
        Ok(timeouts)
    }

    /// Change how long idle connections are kept; 0 leaves what is.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<()> {
        let sequence = self.socket.sequences(1);
        let mut bytes = Vec::new();
        self.append(&mut bytes, wire::SET_CONFIG, libc::NLM_F_ACK as u16, sequence, |body| {
            for (kind, seconds) in TIMEOUTS.into_iter().zip(timeouts) {
                body.put(kind, &seconds.to_ne_bytes());
            }
        });
        let refusals = self.socket.request(&bytes, sequence, |_| Ok(()))?;
        refused(&refusals, "setting IPVS's time-outs")
    }
}

fn refused(refusals: &[(u32, crate::parse::Verdict)], what: &str) -> Result<()> {
    refusals.first().map_or(Ok(()), |(_, verdict)| Err::<(), Error>(verdict.error(what)))
}

pub(super) fn server(message: &Message<'_>) -> Option<HeldServer> {
    let attribute = message.attributes().find(|attribute| attribute.kind == wire::SERVICE)?;
    HeldServer::read(attribute.nested())
}

pub(super) fn real(message: &Message<'_>, family: u8) -> Option<HeldReal> {
    let attribute = message.attributes().find(|attribute| attribute.kind == wire::DESTINATION)?;
    HeldReal::read(attribute.nested(), family)
}

pub(super) fn read_timeouts(message: &Message<'_>, timeouts: &mut Timeouts) {
    for attribute in message.attributes() {
        if let Some(place) = TIMEOUTS.iter().position(|&kind| kind == attribute.kind) {
            timeouts[place] = attribute.native().unwrap_or_default() as u32;
        }
    }
}
