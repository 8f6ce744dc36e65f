//! Times of several steps, and their ratios to those that they are held against.

use std::time::Instant;

use crate::Outcome;

#[derive(Default)]
pub(crate) struct Table {
    /// In the order of their first time.
    rows: Vec<(String, Vec<f64>)>,
}

/// Some tools take minutes.
const ENOUGH_SECONDS: f64 = 30.0;

impl Table {
    /// Does `work`, and prepares it before the clock starts.
    pub(crate) fn time<T>(
        &mut self,
        name: &str,
        prepare: impl FnOnce() -> Outcome<T>,
        work: impl FnOnce(T) -> Outcome,
    ) -> Outcome {
        let prepared = prepare()?;
        let started = Instant::now();
        work(prepared)?;
        self.add(name, started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Whether the steps of a tool have taken so long that they need no other round.
    pub(crate) fn has_enough_of(&self, tool: &str) -> bool {
        let of_tool = self.rows.iter().filter(|(name, _)| name.contains(tool));
        of_tool.flat_map(|(_, times)| times).sum::<f64>() > ENOUGH_SECONDS
    }

    pub(crate) fn add(&mut self, name: &str, seconds: f64) {
        match self.rows.iter_mut().find(|(row, _)| row == name) {
            Some((_, times)) => times.push(seconds),
            None => self.rows.push((name.to_owned(), vec![seconds])),
        }
    }

    /// The first time warms what is to be warm, and counts only where it is all there is.
    fn times(&self, name: &str) -> &[f64] {
        match self.rows.iter().find(|(row, _)| row == name).map(|(_, times)| times.as_slice()) {
            Some([_, times @ ..]) if !times.is_empty() => times,
            times => times.unwrap_or_default(),
        }
    }

    /// Medians, and the fastest and the slowest; the rate at which `bytes` are moved; and the speed in multiples of that
    /// of each of the rows named `peers`, as the median over the rounds: a round's steps share the machine's mood.
    pub(crate) fn print(&self, title: &str, bytes: u64, peers: &[&str]) {
        let mib = bytes as f64 / f64::from(1 << 20);
        let speeds: Vec<String> = peers.iter().map(|peer| format!("speed, x {peer}")).collect();
        println!("\n{title}, {mib:.0} MiB\n\n| step | median | from, to | MiB/s | {} |", speeds.join(" | "));
        println!("|---|---|---|---|{}", "---|".repeat(peers.len()));
        for (name, _) in &self.rows {
            let times = self.times(name);
            let median_time = median(times.iter().copied());
            let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
            let slowest = times.iter().copied().fold(0.0, f64::max);
            print!("| {name} | {median_time:.3} s | {fastest:.3}, {slowest:.3} | {:.0} |", mib / median_time);
            for peer in peers {
                print!(" {:.2} |", median(self.times(peer).iter().zip(times).map(|(peer, ours)| peer / ours)));
            }
            println!();
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
