// SPDX-License-Identifier: Apache-2.0
//! The handle of a running relay. Nothing here is on the way of a byte.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::config::{Config, Ports};
use crate::error::{Error, Result};
use crate::handover::Inherited;
use crate::listen;
use crate::stats::{Report, WorkerMeter, REFUSALS};
use crate::steer;
use crate::sys::process;
use crate::table::{Service, Table};
use crate::worker::home::Home;
use crate::worker::mailbox::{Mailbox, Message};
use crate::worker::Worker;

/// What workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub config: Config,
    /// The ports it listens on.
    pub ports: Ports,
    pub table: ArcSwap<Table>,
    /// One a worker.
    pub lanes: Vec<Lane>,
    /// Connections on their way from one worker to another.
    pub moving: AtomicUsize,
    /// What workers said that panicked.
    panics: Mutex<Vec<String>>,
}

/// What one worker writes and others read.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Lane {
    pub mailbox: Mailbox,
    pub connections: AtomicUsize,
    /// Flows of datagrams.
    pub flows: AtomicUsize,
    /// Pipes that some way of a connection has.
    pub pipes: AtomicUsize,
    /// Connections that proved to be long transfers.
    pub bulk: AtomicUsize,
    pub meter: WorkerMeter,
}

impl Lane {
    fn open() -> std::io::Result<Self> {
        Ok(Self {
            mailbox: Mailbox::open()?,
            connections: AtomicUsize::default(),
            flows: AtomicUsize::default(),
            pipes: AtomicUsize::default(),
            bulk: AtomicUsize::default(),
            meter: WorkerMeter::default(),
        })
    }
}

impl Shared {
    /// The connections of all workers together.
    pub fn connections(&self) -> usize {
        let settled: usize = self.lanes.iter().map(|lane| lane.connections.load(Ordering::Relaxed)).sum();
        settled + self.moving.load(Ordering::Relaxed)
    }
}

/// A running relay. Dropping it stops it.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held while a table is made from the one before. True once there has been one.
    served: Mutex<bool>,
}

impl Relay {
    /// Start with sockets of its own, or with those of a relay that it relieves.
    pub fn start(config: Config, inherited: Option<Inherited>) -> Result<Self> {
        // A relay with few descriptors is one that refuses connections sooner, not one that cannot start.
        let _ = process::raise_descriptors();
        let workers = config.worker_count();
        let (sockets, ports) = listen::open(&config, workers, inherited)?;
        let steered = config.steered.then(|| steer::plan(workers)).flatten();
        if steered.is_some() {
            steer::attach(&sockets)?;
        }
        let failed = |error: std::io::Error| Error::system(&error, "starting a worker of the relay");
        let lanes = (0..workers).map(|_| Lane::open()).collect::<std::io::Result<_>>().map_err(failed)?;
        let (table, moving, panics) = (ArcSwap::default(), AtomicUsize::default(), Mutex::default());
        let shared = Arc::new(Shared { config, ports, table, lanes, moving, panics });
        let mut relay = Self { shared, threads: Mutex::default(), served: Mutex::default() };
        for (number, sockets) in sockets.into_iter().enumerate() {
            let home = Home::new(steered.as_ref().map(|plan| plan[number]));
            let worker = Worker::new(number, Arc::clone(&relay.shared), sockets, home).map_err(failed)?;
            let shared = Arc::clone(&relay.shared);
            let thread = thread::Builder::new()
                .name(format!("relay-{number}"))
                .spawn(move || {
                    // Signals are for the threads of the program, and a pipe or socket without a reader is no news here.
                    let _ = process::block_signals();
                    guarded(number, worker, &shared);
                })
                .map_err(failed)?;
            relay.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(relay)
    }

    /// The ports it listens on.
    pub fn ports(&self) -> Ports {
        self.shared.ports
    }

    /// Change Services, all at once: the next client that is accepted meets all of it. Connections are not disturbed.
    ///
    /// Nobody is accepted before the first call. Clients wait until then, so that one that dials while a relay relieves
    /// another is not refused by an empty table: the first call is to bring all there is.
    pub fn apply(&self, upserts: Vec<Service>, removes: &[String]) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let (table, departures) = self.shared.table.load().with(upserts, removes);
        self.shared.table.store(Arc::new(table));
        let first = !std::mem::replace(&mut *served, true);
        drop(served);
        if first {
            self.tell(|| Message::Open);
        }
        if departures {
            self.tell(|| Message::Departures);
        }
    }

    /// Take no new clients. Those there are have this long, then they are reset.
    pub fn drain(&self, deadline: Duration) {
        self.tell(|| Message::Drain(deadline));
    }

    /// Reset every connection and end the workers.
    pub fn stop(&self) {
        self.tell(|| Message::Stop);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker's panic is caught inside it.
            let _ = thread.join();
        }
    }

    /// Copies of the sockets, for the process that relieves this one. Drain once it serves.
    pub fn hand_over(&self) -> Inherited {
        // One after the other: the kernel numbers the sockets of a port, and their order is kept.
        let share = |lane: &Lane| {
            let (answer, answers) = channel();
            // From a worker that has left, the message comes back, and with its end there is no answer to wait for.
            drop(lane.mailbox.send(Message::Share(answer)));
            answers.recv().unwrap_or_default()
        };
        Inherited { sockets: self.shared.lanes.iter().flat_map(share).collect() }
    }

    /// Connections there are, and those being dialled.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Pipes in use: two descriptors each. A connection has one only while a way is full of bytes.
    pub fn pipes(&self) -> usize {
        self.shared.lanes.iter().map(|lane| lane.pipes.load(Ordering::Relaxed)).sum()
    }

    /// What was counted so far.
    pub fn stats(&self) -> Report {
        Report::of(&self.shared.table.load())
    }

    /// Clients that were turned away, in the order of `stats::Refusal`.
    pub fn refusals(&self) -> [u64; REFUSALS] {
        let counts = self.shared.lanes.iter().map(|lane| lane.meter.refusals());
        counts.fold([0; REFUSALS], |sum, counts| std::array::from_fn(|reason| sum[reason] + counts[reason]))
    }

    /// Whether every worker runs; else what the one that does not said last.
    pub fn alive(&self) -> std::result::Result<(), String> {
        let panics = self.shared.panics.lock().unwrap_or_else(PoisonError::into_inner);
        if panics.is_empty() {
            Ok(())
        } else {
            Err(panics.join("; "))
        }
    }

    fn tell(&self, message: impl Fn() -> Message) {
        for lane in &self.shared.lanes {
            // One that has left needs not be told.
            let _ = lane.mailbox.send(message());
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Run a worker to its end. One that panics takes its connections with it and nothing else: its sockets close, so that
/// the kernel gives new clients to its siblings.
fn guarded(number: usize, mut worker: Worker, shared: &Shared) {
    let result = catch_unwind(AssertUnwindSafe(|| worker.run()));
    // Even of one that panicked in the midst of its work the clients are told; should that fail, too, it ends here.
    let _ = catch_unwind(AssertUnwindSafe(move || worker.stop()));
    shared.lanes[number].mailbox.close();
    if let Err(payload) = result {
        let said = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no words".to_owned());
        let text = format!("worker {number} of the relay panicked ({said}); restart kproxy to have it back");
        shared.panics.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

#[cfg(test)]
mod tests;
