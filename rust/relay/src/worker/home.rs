// SPDX-License-Identifier: Apache-2.0
//! Where and how a worker runs: on the CPU its clients' packets arrive at, so that none other has to be woken for them.
//!
//! Much for few is another matter: whoever sends and whoever receives keep a CPU busy each, and a worker that cannot give
//! way to them slows all three. So while bytes are spliced it may run anywhere, and as one that interrupts nobody
//! (`SCHED_BATCH`): woken for every packet in between it would splice them one by one. So it gathers what comes until it is
//! its turn, which halves what a gigabyte costs. When that is over it comes home.

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
    /// Splices by the time it looked last.
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

    /// Look at how often was spliced so far, and leave or come home as that says.
    pub fn consider(&mut self, spliced: u64, now: Tick) {
        if spliced != self.spliced {
            self.spliced = spliced;
            if self.back.replace(now + OVER).is_none() {
                self.leave();
            }
        } else if self.back.is_some_and(|back| back <= now) {
            self.back = None;
            let _ = process::interrupts_others(true);
            self.settle();
        }
    }

    fn leave(&self) {
        // As with its CPU: what is refused costs speed alone.
        let _ = process::interrupts_others(false);
        if self.own.is_some() {
            let _ = process::pin(&self.anywhere);
        }
    }
}

#[cfg(test)]
mod tests;
