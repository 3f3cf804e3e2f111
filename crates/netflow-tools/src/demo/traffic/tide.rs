//! How busy the invented network is at a time: a rate that never changes looks like a fault, and
//! shows nothing on a chart.

use std::f64::consts::TAU;

use super::conversations::UnixMillis;

/// A wave of the working day, shortened so that a visitor sees it.
const DAY_MS: u64 = 300_000;
/// A ripple upon it.
const RIPPLE_MS: u64 = 37_000;
/// Backups run at the beginning of each such time …
const BACKUP_EVERY_MS: u64 = 240_000;
/// … for so long.
const BACKUP_MS: u64 = 60_000;

/// The rate at this time in parts of the mean rate: 0.4 to 1.6.
pub(super) fn load(now: UnixMillis) -> f64 {
    let wave = |period: u64| ((now % period) as f64 / period as f64 * TAU).sin();
    1.0 + 0.45 * wave(DAY_MS) + 0.15 * wave(RIPPLE_MS)
}

/// Whether the nightly backups run.
pub(super) fn is_backup_time(now: UnixMillis) -> bool {
    now % BACKUP_EVERY_MS < BACKUP_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_comes_and_goes_around_its_mean() {
        let loads: Vec<f64> = (0..DAY_MS * 37)
            .step_by(1_000)
            .map(|at| load(1_700_000_000_000 + at))
            .collect();
        assert!(loads.iter().all(|load| (0.4..=1.6).contains(load)));
        assert!(loads.iter().any(|load| *load < 0.6) && loads.iter().any(|load| *load > 1.4));
        let mean = loads.iter().sum::<f64>() / loads.len() as f64;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn backups_run_a_quarter_of_the_time() {
        let seconds = (0..BACKUP_EVERY_MS).step_by(1_000);
        let running = seconds.filter(|at| is_backup_time(1_700_000_000_000 + at));
        assert_eq!(running.count(), 60);
    }
}
