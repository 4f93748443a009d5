// SPDX-License-Identifier: Apache-2.0
//! A worker leaves its CPU for bulk and comes back. In threads of their own: where and how they run is theirs.

use super::{Home, OVER};
use crate::sys::process::{allowed_processors, is_of_batch};

#[test]
fn a_worker_may_run_anywhere_only_while_bytes_are_spliced() {
    let everywhere = allowed_processors().unwrap();
    let own = everywhere[0];
    std::thread::spawn(move || {
        let mut home = Home::new(Some(own));
        home.settle();
        assert_eq!(allowed_processors().unwrap(), [own]);

        home.consider(0, 10);
        assert_eq!((allowed_processors().unwrap(), is_of_batch()), (vec![own], false), "nothing was spliced");

        for now in [11, 12, 11 + OVER, 12 + OVER] {
            home.consider(u64::from(now), now);
            assert_eq!((allowed_processors().unwrap(), is_of_batch()), (everywhere.clone(), true), "more was spliced");
        }

        home.consider(u64::from(12 + OVER), 11 + 2 * OVER);
        assert_eq!(allowed_processors().unwrap(), everywhere, "a moment ago more was spliced");
        home.consider(u64::from(12 + OVER), 12 + 2 * OVER);
        assert_eq!((allowed_processors().unwrap(), is_of_batch()), (vec![own], false));
    })
    .join()
    .unwrap();
}

#[test]
fn a_worker_without_a_cpu_of_its_own_runs_anywhere() {
    let everywhere = allowed_processors().unwrap();
    std::thread::spawn(move || {
        let mut home = Home::new(None);
        home.settle();
        home.consider(1, 1);
        assert_eq!((allowed_processors().unwrap(), is_of_batch()), (everywhere.clone(), true));
        home.consider(1, 100);
        assert_eq!((allowed_processors().unwrap(), is_of_batch()), (everywhere, false));
    })
    .join()
    .unwrap();
}
