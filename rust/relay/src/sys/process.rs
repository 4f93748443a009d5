// SPDX-License-Identifier: Apache-2.0
//! The CPUs a thread may run on, how it is scheduled, the signals it takes, and how many descriptors the process may hold.

use std::io;

use super::check;

/// The numbers of the CPUs the calling thread may run on.
pub fn allowed_processors() -> io::Result<Vec<usize>> {
    // SAFETY: cpu_set_t is plain integers; all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local of the size given; 0 is the calling thread.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) })?;
    // SAFETY: the set has been filled and the number is below its size.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&number| unsafe { libc::CPU_ISSET(number, &set) }).collect())
}

/// Have the calling thread run on these CPUs only.
pub fn pin(processors: &[usize]) -> io::Result<()> {
    // SAFETY: cpu_set_t is plain integers; all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &processor in processors {
        // SAFETY: CPU_SET leaves the set alone where the number is beyond its size.
        unsafe { libc::CPU_SET(processor, &mut set) };
    }
    // SAFETY: the pointer is to a local of the size given; 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })
}

/// Let the calling thread, once woken, take the CPU of one that has run longer; else it waits until it is its turn.
pub fn interrupts_others(it_may: bool) -> io::Result<()> {
    let policy = if it_may { libc::SCHED_OTHER } else { libc::SCHED_BATCH };
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a live local; 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) })
}

/// Whether the calling thread waits until it is its turn.
#[cfg(test)]
pub fn is_of_batch() -> bool {
    // SAFETY: it takes no pointer; 0 is the calling thread.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_BATCH }
}

/// Have no signal interrupt the calling thread.
pub fn block_signals() -> io::Result<()> {
    // SAFETY: sigset_t is plain integers, and sigfillset() fills it.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointers are to a live local or null, which asks for no answer.
    unsafe {
        check(libc::sigfillset(&raw mut all))?;
        check(-libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()))
    }
}

/// How many descriptors the process may hold.
pub fn descriptors() -> io::Result<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local of the type getrlimit() fills.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    Ok(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

/// Raise the number of descriptors the process may hold to what it may raise it to.
pub fn raise_descriptors() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local of the type getrlimit() fills.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a live local; the kernel only reads.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
}
