// SPDX-License-Identifier: Apache-2.0
//! A connection is accepted on the CPU that its packets arrive at: no other has to be woken for it.
//!
//! Each worker is pinned to a CPU, and a program chooses among the listeners of a port by the CPU it runs on. That makes
//! sense only where there is a worker for each CPU; any other arrangement leaves the choice to the kernel.

use crate::error::{Error, Result};
use crate::listen::Bound;
use crate::sys::{process, socket};
use crate::table::Protocol;

/// Load the number of the CPU, take it modulo the workers, return it.
fn program(workers: u32) -> [socket::Instruction; 3] {
    let processor = libc::SKF_AD_OFF + libc::SKF_AD_CPU;
    [
        (code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), u32::from_ne_bytes(processor.to_ne_bytes())),
        (code(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K), workers),
        (code(libc::BPF_RET | libc::BPF_A), 0),
    ]
}

fn code(code: u32) -> u16 {
    code as u16
}

/// The CPU of each worker, by number, where each of the allowed CPUs gets one.
pub(crate) fn plan(workers: usize) -> Option<Vec<usize>> {
    arrange(&process::allowed_processors().ok()?, workers)
}

fn arrange(processors: &[usize], workers: usize) -> Option<Vec<usize>> {
    let own = |worker| processors.iter().copied().find(|processor| processor % workers == worker);
    let all: Option<Vec<usize>> = (0..workers).map(own).collect();
    all.filter(|_| processors.len() == workers)
}

/// Attach the program to every port. Only listeners that listen already count for it; a later one would get nothing.
pub(crate) fn attach(shares: &[Vec<Bound>]) -> Result<()> {
    let first = shares.first().into_iter().flatten();
    // Datagrams stay where the kernel puts them: a flow lives with one worker, wherever its client's packets arrive.
    for listener in first.filter(|bound| bound.protocol == Protocol::Tcp) {
        socket::steer(&listener.socket, &program(shares.len() as u32))
            .map_err(|error| Error::system(&error, "steering clients to the workers of their CPUs"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::arrange;

    #[test]
    fn each_allowed_processor_gets_the_worker_that_the_program_chooses_on_it() {
        assert_eq!(arrange(&[0, 1], 2), Some(vec![0, 1]));
        assert_eq!(arrange(&[2, 3], 2), Some(vec![2, 3]));
        assert_eq!(arrange(&[3, 4, 5], 3), Some(vec![3, 4, 5]));
    }

    #[test]
    fn other_numbers_of_workers_are_not_steered() {
        assert_eq!(arrange(&[0, 2], 2), None, "both would choose the same worker");
        assert_eq!(arrange(&[0, 1, 2, 3], 2), None);
        assert_eq!(arrange(&[0], 2), None);
        assert_eq!(arrange(&[], 1), None);
    }
}
