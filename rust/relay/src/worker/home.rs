// SPDX-License-Identifier: Apache-2.0
//! The CPU a worker stays on: the one its clients' packets arrive at, so that none other has to be woken for them.
//!
//! Much for few is another matter: whoever sends and whoever receives keep a CPU busy each, and a worker that cannot give
//! way to them slows all three. So it may run anywhere while bytes are spliced, and comes home when that is over.

use super::timers::Tick;
use crate::sys::process;

/// How long after the last splice a worker counts as one of short exchanges again.
const OVER: Tick = 2;

/// Where a worker runs.
#[derive(Debug)]
pub struct Home {
    /// Its own CPU; none where clients are not steered.
    own: Option<usize>,
    /// Every CPU it may run on.
    anywhere: Vec<usize>,
    /// Pipes taken by the time it looked last.
    spliced: u64,
    /// While it is away: when it comes home.
    back: Option<Tick>,
}

impl Home {
    /// A CPU of its own, if it has one.
    pub fn new(own: Option<usize>) -> Self {
        let anywhere = own.and_then(|_| process::allowed_processors().ok()).unwrap_or_default();
        Self { own, anywhere, spliced: 0, back: None }
    }

    /// Go there. To be called by the worker's own thread.
    pub fn settle(&mut self) {
        if let Some(own) = self.own {
            // A thread that may run anywhere still works, only a little slower.
            let _ = process::pin(&[own]);
        }
    }

    /// Look at how many pipes have been taken so far, and leave or come home as that says.
    pub fn consider(&mut self, spliced: u64, now: Tick) {
        if self.own.is_none() {
            return;
        }
        if spliced != self.spliced {
            self.spliced = spliced;
            if self.back.replace(now + OVER).is_none() {
                let _ = process::pin(&self.anywhere);
            }
        } else if self.back.is_some_and(|back| back <= now) {
            self.back = None;
            self.settle();
        }
    }
}

#[cfg(test)]
mod tests;
