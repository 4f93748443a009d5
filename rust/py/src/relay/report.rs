// SPDX-License-Identifier: Apache-2.0
//! What the relay counted, as Python's tuples.

use relay::stats::histogram::Durations;
use relay::stats::{Count, Report, Whole};

/// How many of each step, and microseconds of all together.
type Taken = (Vec<u64>, u64);

/// `(Service, name, connections, active, ended by how, failed dials by why, ejections, bytes from clients, bytes to clients,
/// dial times, times to the first byte)`.
type Counted = (String, String, u64, u64, Vec<u64>, Vec<u64>, u64, u64, u64, Taken, Taken);

/// `(Service, retries, clients known for affinity)`.
type Known = (String, u64, u64);

/// Services, frontends, endpoints.
pub type Counts = (Vec<Known>, Vec<Counted>, Vec<Counted>);

/// The rows of a report.
pub fn counts(report: Report) -> Counts {
    let rows = |counts: Vec<Count>| counts.into_iter().map(row).collect();
    let known = |each: Whole| (each.service, each.retries, each.clients);
    (report.services.into_iter().map(known).collect(), rows(report.frontends), rows(report.endpoints))
}

fn row(each: Count) -> Counted {
    (
        each.service,
        each.name,
        each.connections,
        each.active,
        each.ended.to_vec(),
        each.failed.to_vec(),
        each.ejections,
        each.up,
        each.down,
        taken(each.dial),
        taken(each.first_byte),
    )
}

fn taken(durations: Durations) -> Taken {
    (durations.steps, durations.microseconds)
}
