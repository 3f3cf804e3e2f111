//! How NETFLOW_MEMORY_LIMIT is shared out.

use netflow2traces::config::memory::Available;
use netflow2traces::config::{Machine, Purpose, load};

use super::{Surroundings, machine};

const MIB: usize = 1 << 20;

#[test]
fn the_limit_is_shared_out_between_the_queue_and_what_is_kept_for_exporters() {
    let config = Surroundings::sound().config();
    assert_eq!(config.memory.limit, 320 * MIB);
    assert_eq!(config.deliver.queue_size, 64 * MIB);
    assert!((200 * MIB..256 * MIB).contains(&config.memory.state));
    let small = Surroundings::sound().env("NETFLOW_MEMORY_LIMIT", "128MiB");
    let config = small.config();
    assert_eq!(config.deliver.queue_size, 32 * MIB);
    assert!((32 * MIB..96 * MIB).contains(&config.memory.state));
}

#[test]
fn a_queue_and_requests_that_do_not_fit_are_cut_with_a_warning() {
    let much = Surroundings::sound()
        .env("NETFLOW_MEMORY_LIMIT", "128MiB")
        .env("NETFLOW_QUEUE_SIZE", "1GiB")
        .env("NETFLOW_EXPORT_CONCURRENCY", "64");
    let loaded = much.loaded();
    assert_eq!(loaded.config.deliver.queue_size, 64 * MIB);
    assert_eq!(loaded.config.deliver.concurrency, 8);
    let [queue, concurrency] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings)
    };
    assert!(queue.contains("NETFLOW_QUEUE_SIZE") && queue.contains("NETFLOW_MEMORY_LIMIT"));
    assert!(concurrency.contains("NETFLOW_EXPORT_CONCURRENCY"));
}

fn in_cgroup(mebibytes: u64, surroundings: &Surroundings) -> netflow2traces::config::Loaded {
    let machine = Machine {
        memory: Available {
            cgroup: Some(mebibytes << 20),
            machine: Some(16 << 30),
        },
        ..machine()
    };
    load(Purpose::Run, &surroundings.sources(), &machine).unwrap_or_else(|m| panic!("{m}"))
}

#[test]
fn in_a_cgroup_the_defaults_fit_and_too_little_is_warned_of_with_the_figure() {
    let one_worker = Surroundings::sound().env("NETFLOW_WORKERS", "1");
    let loaded = in_cgroup(512, &one_worker);
    let config = &loaded.config;
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let needed = config.memory.limit + 64 * MIB + 2 * config.receive.receive_buffer;
    assert!(needed <= 512 * MIB, "{needed}");
    let [warning] = &in_cgroup(128, &one_worker).warnings[..] else {
        panic!("one warning")
    };
    assert!(
        warning.contains("128 MiB") && warning.contains("need 192 MiB"),
        "{warning}"
    );
    let set = one_worker.env("NETFLOW_MEMORY_LIMIT", "480MiB");
    let [warning] = &in_cgroup(512, &set).warnings[..] else {
        panic!("one warning")
    };
    assert!(warning.contains("480 MiB"), "{warning}");
}
