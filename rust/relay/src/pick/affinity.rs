// SPDX-License-Identifier: Apache-2.0
//! Which endpoint each client was given last, for as long as that counts.
//!
//! Two generations: clients that come move to the young one; when the young one is as old as the time-out, everybody in the
//! other has been away for longer and goes at once. So nothing is ever searched for what is over. A generation that is full
//! gives way sooner: then who has been away longest loses its endpoint early, and memory stays bounded.

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::hash::Map;
use crate::table::Scope;

/// Clients a generation holds.
const MOST: usize = 131_072;

/// An endpoint by its address, and the number that tells it from a later one at the same address.
pub type Bound = (SocketAddr, u64);

/// A client, in one scope: what answers it in one need not exist in the other.
type Client = (IpAddr, Scope);

#[derive(Debug, Clone, Copy)]
struct Bond {
    to: Bound,
    used: Instant,
}

/// The clients of one Service.
#[derive(Debug, Default)]
pub struct Affinity {
    young: Map<Client, Bond>,
    old: Map<Client, Bond>,
    /// When the young generation began.
    began: Option<Instant>,
}

impl Affinity {
    /// The endpoint a client has, if it came within the time-out.
    pub fn of(&mut self, client: Client, timeout: Duration, now: Instant) -> Option<Bound> {
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) >= timeout {
            self.turn(now);
        }
        let bond = self.young.get(&client).or_else(|| self.old.get(&client))?;
        (now.saturating_duration_since(bond.used) < timeout).then_some(bond.to)
    }

    /// A client was given an endpoint, be it the one it had.
    pub fn bind(&mut self, client: Client, to: Bound, now: Instant) {
        if self.young.len() >= MOST && !self.young.contains_key(&client) {
            self.turn(now);
        }
        self.young.insert(client, Bond { to, used: now });
    }

    /// How many clients are known, those that came in both generations twice.
    pub fn clients(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn turn(&mut self, now: Instant) {
        self.old = mem::take(&mut self.young);
        self.began = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn client(number: u32) -> Client {
        (Ipv4Addr::from(number).into(), Scope::All)
    }

    fn endpoint(number: u8) -> Bound {
        (SocketAddr::from(([10, 0, 0, number], 80)), number.into())
    }

    #[test]
    fn a_client_keeps_its_endpoint_until_the_timeout_after_its_last_visit() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut affinity = Affinity::default();
        assert_eq!(affinity.of(client(1), TIMEOUT, at(0)), None);
        affinity.bind(client(1), endpoint(1), at(0));
        for seconds in [9, 18, 27, 36] {
            assert_eq!(affinity.of(client(1), TIMEOUT, at(seconds)), Some(endpoint(1)));
            affinity.bind(client(1), endpoint(1), at(seconds));
        }
        assert_eq!(affinity.of(client(1), TIMEOUT, at(46)), None);
    }

    #[test]
    fn every_moment_of_expiry_is_exact() {
        let start = Instant::now();
        let mut affinity = Affinity::default();
        for second in 0..60_u32 {
            let now = start + Duration::from_secs(second.into());
            for earlier in 0..second {
                let expected = (second - earlier < 10).then_some(endpoint(earlier as u8));
                assert_eq!(affinity.of(client(earlier), TIMEOUT, now), expected, "of {earlier} at {second}");
            }
            affinity.of(client(second), TIMEOUT, now);
            affinity.bind(client(second), endpoint(second as u8), now);
        }
        assert!(affinity.clients() <= 21, "{}", affinity.clients());
    }

    #[test]
    fn scopes_are_apart() {
        let now = Instant::now();
        let mut affinity = Affinity::default();
        affinity.bind(client(1), endpoint(1), now);
        assert_eq!(affinity.of((client(1).0, Scope::Local), TIMEOUT, now), None);
    }

    #[test]
    fn any_number_of_clients_takes_bounded_room() {
        let now = Instant::now();
        let mut affinity = Affinity::default();
        for number in 0..3 * MOST as u32 {
            affinity.of(client(number), TIMEOUT, now);
            affinity.bind(client(number), endpoint(1), now);
        }
        assert!(affinity.clients() <= 2 * MOST);
        // Who came last is still known.
        assert_eq!(affinity.of(client(3 * MOST as u32 - 1), TIMEOUT, now), Some(endpoint(1)));
    }
}
