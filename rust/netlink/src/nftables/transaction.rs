// SPDX-License-Identifier: Apache-2.0
//! Sends batches. The kernel has committed, or refused, a batch when the send returns; refusals are then queued.

use super::batch::{Batch, Encoded};
use super::{wire, Nftables};
use crate::error::{Error, Result};
use crate::message::MESSAGE_HEADER;
use crate::parse::{attributes, Verdict};

impl Nftables {
    /// Commit a batch: all of it, or nothing and an error that names the operation at fault.
    pub fn send(&mut self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.commit(batch, 0..batch.len())
    }

    /// Commit a batch in pieces of at most `operations` each, in order. Returns how many pieces that took.
    ///
    /// A piece is whole or not at all. After an error, `Error::committed` operations are in the kernel and the rest are not.
    pub fn send_pieces(&mut self, batch: &Batch, operations: usize) -> Result<usize> {
        let (mut from, mut count) = (0, 0);
        while from < batch.len() {
            let (mut piece, bytes) = batch.piece(from, operations.max(1), usize::MAX);
            if !self.socket.make_room(bytes) {
                piece = batch.piece(from, operations.max(1), self.socket.room()).0;
            }
            let to = piece.end;
            self.commit(batch, piece).map_err(|error| Error { committed: from, ..error })?;
            from = to;
            count += 1;
        }
        Ok(count)
    }

    fn commit(&mut self, batch: &Batch, range: std::ops::Range<usize>) -> Result<()> {
        let socket = &mut self.socket;
        let (encoded, first) = batch.encode(range, |count| socket.sequences(count));
        if !socket.make_room(encoded.bytes.len()) {
            return Err(Error::new(
                libc::EMSGSIZE,
                format!(
                    "a batch of {} bytes does not fit the socket's {}: send it in pieces, run with CAP_NET_ADMIN in the initial \
                     user namespace, or raise net.core.wmem_max",
                    encoded.bytes.len(),
                    socket.room()
                ),
            ));
        }
        socket.forget();
        socket.send(&encoded.bytes)?;
        match self.first_refusal(first, encoded.messages.len() as u32 + 2)? {
            None => Ok(()),
            Some((sequence, verdict)) => Err(blame(batch, &encoded, sequence.wrapping_sub(first), &verdict)),
        }
    }

    /// The refusal of the earliest message: it is the cause, later ones often only its echo.
    fn first_refusal(&mut self, first: u32, count: u32) -> Result<Option<(u32, Verdict)>> {
        let mut refusal: Option<(u32, Verdict)> = None;
        let mut overrun = None;
        loop {
            let received = self.socket.receive(false, |message| {
                if i32::from(message.kind) == libc::NLMSG_ERROR && message.sequence.wrapping_sub(first) < count {
                    if let Some(verdict) = message.verdict().filter(|verdict| verdict.errno != 0) {
                        if refusal.as_ref().is_none_or(|(earliest, _)| message.sequence < *earliest) {
                            refusal = Some((message.sequence, verdict));
                        }
                    }
                }
                Ok(())
            });
            match received {
                Ok(Some(())) => {}
                Ok(None) => break,
                // Refusals beyond the queue's size are lost, but the first ones are in it.
                Err(error) if error.errno == libc::ENOBUFS => overrun = Some(error),
                Err(error) => return Err(error),
            }
        }
        match (refusal, overrun) {
            (None, Some(error)) => Err(error),
            (refusal, _) => Ok(refusal),
        }
    }
}

/// The error for a refusal of message number `number` of a batch (0 is the frame that opens it).
fn blame(batch: &Batch, encoded: &Encoded, number: u32, verdict: &Verdict) -> Error {
    let Some(&(start, operation)) = (number as usize).checked_sub(1).and_then(|number| encoded.messages.get(number)) else {
        return verdict.error(&format!("committing a batch for table {}", batch.table()));
    };
    let index = operation + verdict.offset.map_or(0, |offset| element_at(&encoded.bytes[start..], offset));
    let mut error = verdict.error(&batch.describe(index));
    error.index = Some(index);
    error
}

/// Which element of a message's list the kernel's offset points at; 0 where it points at none.
fn element_at(message: &[u8], offset: usize) -> usize {
    let body = message.get(MESSAGE_HEADER..).unwrap_or_default();
    let Some(list) = attributes(body).find(|attribute| attribute.kind == wire::LIST_ELEMENTS) else { return 0 };
    let begin = MESSAGE_HEADER + list.offset + crate::message::ATTRIBUTE_HEADER;
    list.nested().take_while(|element| begin + element.offset <= offset).count().saturating_sub(1)
}
