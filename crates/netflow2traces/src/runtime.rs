//! The asynchronous runtime, with all of its threads from the start: the system may give no more of them later, and
//! then nothing could be compressed, and no name looked up.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::runtime::{Builder, Runtime};

/// Delivery is one stream of large bodies: more threads only move it from core to core.
const WORKERS: usize = 2;
/// Besides a thread for each request in flight, which is compressed there: for name look-ups that hang, the template
/// store, files, and what the page shows.
const OTHERS: usize = 6;
/// Threads without work stay.
const KEEP: Duration = Duration::from_secs(u32::MAX as u64);
/// How long threads may take to begin.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts a runtime for so many requests in flight.
///
/// # Errors
/// When the system doesn't give the threads.
pub(crate) fn start(requests: usize) -> anyhow::Result<Runtime> {
    let threads = requests + OTHERS;
    try_threads(WORKERS + threads)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(threads)
        .thread_keep_alive(KEEP)
        .thread_name("deliver")
        .enable_all()
        .build()
        .context("the asynchronous runtime could not be started")?;
    occupy(&runtime, threads)?;
    Ok(runtime)
}

/// tokio panics where it gets no thread: tries it before.
fn try_threads(count: usize) -> anyhow::Result<()> {
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let mut threads = Vec::with_capacity(count);
    let mut refused = None;
    for _ in 0..count {
        let held = Arc::clone(&held);
        // Until the sender is gone.
        let wait = move || drop(held.lock().map(|held| held.recv()));
        match thread::Builder::new().spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    drop(release);
    let got = threads.len();
    for thread in threads {
        // They have no way to panic.
        let _ = thread.join();
    }
    refused.map_or(Ok(()), |error| {
        Err(anyhow!(
            "the system gave {got} of the {count} threads needed: {error}; allow the process more (`ulimit -u`, TasksMax= in a \
             systemd unit, the container's pids limit)"
        ))
    })
}

/// Gives each thread for blocking work something to wait for, so that all of them are there.
fn occupy(runtime: &Runtime, count: usize) -> anyhow::Result<()> {
    let (began, begun) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    for _ in 0..count {
        let (began, held) = (began.clone(), Arc::clone(&held));
        runtime.spawn_blocking(move || {
            // Nobody waits any more if it took too long.
            let _ = began.send(());
            drop(held.lock().map(|held| held.recv()));
        });
    }
    let all = (0..count).try_for_each(|_| begun.recv_timeout(PATIENCE));
    drop(release);
    all.context("the threads of the asynchronous runtime did not begin in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threads of this process.
    #[cfg(target_os = "linux")]
    fn named(name: &str) -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|found| found.trim() == name).count()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn all_threads_are_there_and_no_work_adds_one() {
        let runtime = start(3).unwrap();
        let all = named("deliver");
        assert!(all >= WORKERS + 3 + OTHERS, "{all}");
        let work = (0..100).map(|number| runtime.spawn_blocking(move || number));
        let work: Vec<_> = work.collect();
        let sum: u32 = runtime.block_on(async {
            let mut sum = 0;
            for work in work {
                sum += work.await.unwrap();
            }
            sum
        });
        assert_eq!(sum, 4950);
        assert!(named("deliver") <= all);
    }
}
