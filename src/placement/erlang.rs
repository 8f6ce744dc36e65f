//! Queueing theory: the probability that a creation waits.

/// Erlang's C formula (1917): the probability that a creation waits if creations arrive at random (Poisson), `servers` of
/// them are served at once, and `offered` is the arrival rate times the mean duration, in erlangs. 1 if the servers can't
/// keep up.
pub(super) fn erlang_c(servers: u64, offered: f64) -> f64 {
    let mut blocking = ErlangB::new(offered);
    while blocking.servers < servers {
        blocking.add_server();
    }
    blocking.waiting()
}

/// The fewest replicas of `per_replica` servers each with which a creation waits with at most `probability`.
pub(super) fn replicas_for(per_replica: u64, offered: f64, probability: f64) -> u64 {
    let mut blocking = ErlangB::new(offered);
    loop {
        (0..per_replica.max(1)).for_each(|_| blocking.add_server());
        if blocking.waiting() <= probability {
            return blocking.servers / per_replica.max(1);
        }
    }
}

/// Erlang's B formula by its recursion in the number of servers, which is stable for any size: the inverse of the
/// probability is the sum of positive terms.
#[derive(Clone, Copy, Debug)]
struct ErlangB {
    servers: u64,
    offered: f64,
    blocked: f64,
}

impl ErlangB {
    fn new(offered: f64) -> Self {
        Self { servers: 0, offered: offered.max(0.0), blocked: 1.0 }
    }

    fn add_server(&mut self) {
        self.servers += 1;
        let offered = self.offered * self.blocked;
        self.blocked = offered / (self.servers as f64 + offered);
    }

    /// Erlang's C from B.
    fn waiting(&self) -> f64 {
        let used = self.offered / self.servers as f64;
        if used.is_nan() || used >= 1.0 { 1.0 } else { self.blocked / (1.0 - used * (1.0 - self.blocked)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed from the definition in exact fractions; those of 1 to 10 servers are in the usual tables.
    const TABLE: [(u64, f64, f64); 11] = [
        (1, 0.5, 0.5),
        (2, 1.0, 0.333_333),
        (3, 2.0, 0.444_444),
        (5, 4.0, 0.554_113),
        (10, 8.0, 0.409_18),
        (10, 5.0, 0.036_105),
        (20, 16.0, 0.256_078),
        (20, 18.0, 0.550_769),
        (50, 45.0, 0.363_864),
        (100, 90.0, 0.216_94),
        (120, 100.0, 0.033_196),
    ];

    #[test]
    fn the_values_are_those_of_the_tables() {
        for (servers, offered, waits) in TABLE {
            let computed = erlang_c(servers, offered);
            assert!((computed - waits).abs() < 1e-6, "{servers} {offered}: {computed}");
        }
        assert_eq!(erlang_c(0, 0.0), 1.0);
        assert_eq!(erlang_c(7, 0.0), 0.0);
    }

    #[test]
    fn one_replica_fewer_waits_too_often() {
        for offered in [0.0, 3.0, 90.0, 100.0, 5_000.0] {
            let replicas = replicas_for(20, offered, 0.01);
            assert!(erlang_c(20 * replicas, offered) <= 0.01);
            assert!(replicas == 1 || erlang_c(20 * (replicas - 1), offered) > 0.01);
        }
    }
}
