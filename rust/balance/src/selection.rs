// SPDX-License-Identifier: Apache-2.0
//! One method by its name, behind one call.

use crate::hash;
use crate::least_connections::LeastConnections;
use crate::maglev::{self, Table};
use crate::random::Random;
use crate::rendezvous::Rendezvous;
use crate::round_robin::RoundRobin;

/// The longest list that rendezvous hashing is used for: beyond it a Maglev table is faster to pick from.
pub const RENDEZVOUS_LIMIT: usize = 64;

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Method {
    /// In turn.
    #[default]
    RoundRobin,
    /// By chance.
    Random,
    /// The least busy.
    LeastConnections,
    /// By a hash of the client's address: a client stays where it is.
    Consistent,
}

/// What a choice may depend on, told when it is asked for.
pub trait Situation {
    /// A number that is one higher each time it is asked for, by whichever thread.
    fn turn(&self) -> u64;
    /// An even random number, a new one each time.
    fn random(&self) -> u64;
    /// The hash of the client.
    fn client(&self) -> u64;
    /// Connections the endpoint has now.
    fn active(&self, endpoint: u32) -> u32;
    /// Whether the endpoint may be chosen now.
    fn usable(&self, endpoint: u32) -> bool;
}

/// A method made ready for a list of endpoints.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// In turn.
    RoundRobin(RoundRobin),
    /// By chance.
    Random(Random),
    /// The least busy.
    LeastConnections(LeastConnections),
    /// Consistent, a short list.
    Rendezvous(Rendezvous),
    /// Consistent, a long list.
    Maglev(Table),
}

impl Selection {
    /// `endpoints` are names such as `ip:port`, each with its weight; the seed is the Service's own.
    pub fn new(method: Method, endpoints: &[impl AsRef<[u8]>], weights: &[u32], seed: &[u8]) -> Result<Self, maglev::Error> {
        Ok(match method {
            Method::RoundRobin => Self::RoundRobin(RoundRobin::new(weights)),
            Method::Random => Self::Random(Random::new(weights)),
            Method::LeastConnections => Self::LeastConnections(LeastConnections::new(weights)),
            Method::Consistent if endpoints.len() <= RENDEZVOUS_LIMIT => {
                Self::Rendezvous(Rendezvous::new(endpoints, weights, seed))
            }
            Method::Consistent => Self::Maglev(Table::build(endpoints, weights, seed, 0)?),
        })
    }

    /// The place in the list of the endpoint chosen; None if nobody is usable.
    pub fn pick(&self, situation: &impl Situation) -> Option<u32> {
        let usable = |endpoint| situation.usable(endpoint);
        match self {
            Self::RoundRobin(method) => method.pick(|| situation.turn(), usable),
            Self::Random(method) => method.pick(|| situation.random(), usable),
            Self::LeastConnections(method) => method.pick(situation.turn(), |each| situation.active(each), usable),
            Self::Rendezvous(method) => {
                let hash = situation.client();
                method.pick(hash).filter(|&endpoint| usable(endpoint)).or_else(|| method.pick_among(hash, usable))
            }
            Self::Maglev(table) => table.pick_among(situation.client(), usable),
        }
    }
}

/// The hash of a client, for `Situation::client`.
pub fn client_hash(address: std::net::IpAddr) -> u64 {
    hash::client(address)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Eight clients and endpoints that count what they get.
    struct Stand {
        turns: Cell<u64>,
        client: u64,
        active: Vec<u32>,
        gone: Vec<u32>,
    }

    impl Situation for Stand {
        fn turn(&self) -> u64 {
            self.turns.replace(self.turns.get() + 1)
        }
        fn random(&self) -> u64 {
            hash::mix(hash::mix(self.turn(), 0x1234_5678_9abc_def1), 0xfedc_ba98_7654_3211)
        }
        fn client(&self) -> u64 {
            self.client
        }
        fn active(&self, endpoint: u32) -> u32 {
            self.active[endpoint as usize]
        }
        fn usable(&self, endpoint: u32) -> bool {
            !self.gone.contains(&endpoint)
        }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("10.0.{}.{}:80", at / 256, at % 256)).collect()
    }

    fn stand(count: usize) -> Stand {
        Stand { turns: Cell::new(0), client: 0x9e37_79b9_7f4a_7c15, active: vec![0; count], gone: Vec::new() }
    }

    const METHODS: [Method; 4] = [Method::RoundRobin, Method::Random, Method::LeastConnections, Method::Consistent];

    #[test]
    fn every_method_passes_over_what_is_unusable_and_what_has_no_weight() {
        for method in METHODS {
            for count in [3, 64, 65, 300] {
                let mut weights = vec![1; count];
                weights[1] = 0;
                let selection = Selection::new(method, &names(count), &weights, b"seed").unwrap();
                let mut stand = stand(count);
                stand.gone = (2..count as u32).collect();
                assert_eq!(selection.pick(&stand), Some(0), "{method:?} of {count}");
                stand.gone.push(0);
                assert_eq!(selection.pick(&stand), None, "{method:?} of {count}");
            }
            let empty = Selection::new(method, &names(0), &[], b"seed").unwrap();
            assert_eq!(empty.pick(&stand(0)), None, "{method:?} of none");
        }
    }

    #[test]
    fn consistent_is_rendezvous_up_to_its_limit_and_maglev_beyond() {
        let built = |count: usize| Selection::new(Method::Consistent, &names(count), &vec![1; count], b"").unwrap();
        assert!(matches!(built(RENDEZVOUS_LIMIT), Selection::Rendezvous(_)));
        assert!(matches!(built(RENDEZVOUS_LIMIT + 1), Selection::Maglev(_)));
    }

    #[test]
    fn consistent_keeps_a_client_and_the_others_do_not() {
        for method in METHODS {
            let selection = Selection::new(method, &names(8), &[1; 8], b"seed").unwrap();
            let mut stand = stand(8);
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..64 {
                let endpoint = selection.pick(&stand).unwrap();
                stand.active[endpoint as usize] += 1;
                seen.insert(endpoint);
            }
            assert_eq!(seen.len(), if method == Method::Consistent { 1 } else { 8 }, "{method:?}");
        }
    }
}
