//! How much memory there is, and how it is shared out.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::load::Loader;
use super::{Deliver, Machine, Receive, Streams, settings};

const MIB: usize = 1 << 20;
/// More is of no use to most: it is what a thousand exporters and a minute without the backend need.
const MOST: usize = 320 * MIB;
/// The program itself, what is read from the kernel at once, and what the allocator holds besides.
const BASE: usize = 64 * MIB;
/// Less leaves too little for what is received.
const LEAST: usize = 192 * MIB;
/// The queue of spans, unless it is set.
const QUEUE: usize = 64 * MIB;
/// The buffer of each socket, unless it is set.
const RECEIVE_BUFFER: usize = 64 * MIB;
/// The least that is useful: one datagram of the largest kind.
const LEAST_RECEIVE_BUFFER: usize = 64 << 10;

/// `NETFLOW_MEMORY_LIMIT`, shared out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Memory {
    /// Octets that are kept for senders and for the backend together.
    pub limit: usize,
    /// Of these, what is kept for exporters: templates, options data, sets that wait.
    pub state: usize,
}

/// What the machine and the cgroup give.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Available {
    /// The least limit of the process's cgroup and of those around it.
    pub cgroup: Option<u64>,
    /// Of the machine.
    pub machine: Option<u64>,
}

impl Available {
    /// Asks the system.
    #[must_use]
    pub fn read() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cgroup: cgroup_limit(&groups, Path::new("/sys/fs/cgroup")),
            machine: total_memory(&machine),
        }
    }

    /// What there is.
    fn octets(self) -> Option<usize> {
        let least = self.cgroup.into_iter().chain(self.machine).min()?;
        Some(usize::try_from(least).unwrap_or(usize::MAX))
    }

    /// `NETFLOW_MEMORY_LIMIT`, unless it is set.
    #[must_use]
    pub fn default_limit(self) -> usize {
        self.octets().map_or(MOST, |octets| (octets / 2).min(MOST))
    }

    /// `NETFLOW_RECEIVE_BUFFER`, unless it is set. The kernel counts twice what is asked for: all sockets together
    /// take at most a quarter of the cgroup's limit.
    #[must_use]
    pub fn default_receive_buffer(self, sockets: usize) -> usize {
        let Some(cgroup) = self.cgroup else {
            return RECEIVE_BUFFER;
        };
        let quarter = usize::try_from(cgroup / 4).unwrap_or(usize::MAX);
        let each = quarter / 2 / sockets.max(1);
        RECEIVE_BUFFER.min(each).max(LEAST_RECEIVE_BUFFER)
    }

    /// Says what is needed where there is less.
    #[must_use]
    pub fn warning(self, limit: usize, receive: &Receive, is_set: bool) -> Option<String> {
        let available = self.octets()?;
        let buffers = receive.receive_buffer.saturating_mul(receive.sockets());
        let needed = limit
            .saturating_add(BASE)
            .saturating_add(buffers.saturating_mul(2));
        let is_short = available < LEAST || (is_set && self.cgroup.is_some() && available < needed);
        is_short.then(|| {
            format!(
                "{} MiB of memory are few: NETFLOW_MEMORY_LIMIT ({} MiB), the program itself ({} MiB) and twice the \
                 receive buffers ({} MiB) need {} MiB",
                available / MIB,
                limit / MIB,
                BASE / MIB,
                buffers / MIB,
                needed.max(LEAST).div_ceil(MIB)
            )
        })
    }
}

/// `NETFLOW_QUEUE_SIZE`, unless it is set: a request fits into it.
pub(super) fn default_queue(limit: usize, max_request_size: usize) -> usize {
    QUEUE.min(limit / 4).max(max_request_size)
}

/// What is left for exporters beside the queue, the requests in flight and the batches that are being filled.
fn state(
    limit: usize,
    queue: usize,
    in_flight: usize,
    max_request: usize,
    workers: usize,
) -> usize {
    let filling = max_request.saturating_mul(workers);
    let others = queue.saturating_add(in_flight).saturating_add(filling);
    limit.saturating_sub(others).max(limit / 8)
}

/// Octets that connections take: themselves, what was read and waits, and incomplete messages.
const fn of_streams(limit: usize) -> usize {
    limit / 16 * 3
}

/// Octets that requests under way take: each is there once more, compressed or as JSON.
fn in_flight(concurrency: usize, max_request: usize) -> usize {
    concurrency.saturating_mul(max_request).saturating_mul(2)
}

impl Loader<'_> {
    pub(super) fn memory_limit(&mut self, machine: &Machine, receive: &Receive) -> usize {
        let given = self.optional(&settings::MEMORY_LIMIT);
        let limit = given.unwrap_or_else(|| machine.memory.default_limit());
        let warning = machine.memory.warning(limit, receive, given.is_some());
        self.warnings.extend(warning);
        limit
    }

    /// Shares the memory out. What delivery was given and doesn't fit is cut, with a warning.
    pub(super) fn memory(
        &mut self,
        limit: usize,
        deliver: &mut Deliver,
        streams: &mut Streams,
        workers: usize,
    ) -> Memory {
        let most = (limit / 2).max(deliver.max_request_size);
        if deliver.queue_size > most {
            self.warnings.push(format!(
                "NETFLOW_QUEUE_SIZE ({} MiB) is cut to {} MiB, half of NETFLOW_MEMORY_LIMIT ({} MiB): set that to twice \
                 the size of the queue or more",
                deliver.queue_size / MIB,
                most / MIB,
                limit / MIB
            ));
            deliver.queue_size = most;
        }
        let request = deliver.max_request_size;
        let fitting = (limit / 4 / in_flight(1, request)).max(1);
        if deliver.concurrency > fitting {
            self.warnings.push(format!(
                "NETFLOW_EXPORT_CONCURRENCY ({}) is cut to {fitting}: requests under way take at most a quarter of \
                 NETFLOW_MEMORY_LIMIT ({} MiB), each twice NETFLOW_MAX_REQUEST_SIZE",
                deliver.concurrency,
                limit / MIB
            ));
            deliver.concurrency = fitting;
        }
        if !streams.is_off() {
            streams.memory = of_streams(limit);
        }
        let in_flight = in_flight(deliver.concurrency, request) + streams.memory;
        Memory {
            limit,
            state: state(limit, deliver.queue_size, in_flight, request, workers),
        }
    }
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The least limit of the groups that `/proc/self/cgroup` names and of all around them: `memory.max` of version 2,
/// `memory.limit_in_bytes` of version 1. Inside a container a path may lead outside of what is mounted: then the root
/// of the mount is the group.
fn cgroup_limit(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next(), parts.next(), parts.next());
        let (top, file) = match controllers {
            Some("") => (root.to_owned(), "memory.max"),
            Some(list) if list.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        let mut group = top.clone();
        let mut folders: Vec<PathBuf> = vec![top];
        for part in Path::new(path.unwrap_or_default()).components() {
            match part {
                Component::Normal(name) => group.push(name),
                Component::ParentDir => break,
                _ => continue,
            }
            folders.push(group.clone());
        }
        let limits = folders.iter().filter_map(|folder| {
            let text = fs::read_to_string(folder.join(file)).ok()?;
            text.trim().parse().ok()
        });
        // Version 1 says "no limit" by a number near 2^63.
        limits.filter(|limit: &u64| *limit < 1 << 60).collect()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_least_limit_of_nested_groups_holds() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "a/memory.max", "536870912\n");
        write(root, "a/b/memory.max", "max\n");
        write(root, "a/b/c/memory.max", "1073741824\n");
        assert_eq!(cgroup_limit("0::/a/b/c\n", root), Some(512 << 20));
        assert_eq!(cgroup_limit("0::/a\n", root), Some(512 << 20));
        assert_eq!(cgroup_limit("0::/x\n", root), None);
        // A container sees its own group as the root.
        write(root, "memory.max", "268435456\n");
        for groups in ["0::/\n", "0::/../../other\n", "0::/a/b/c\n"] {
            assert_eq!(cgroup_limit(groups, root), Some(256 << 20), "{groups}");
        }
    }

    #[test]
    fn version_1_and_both_at_once_are_understood() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let groups = "12:cpu,cpuacct:/x\n5:memory:/docker/1\n0::/\n";
        write(
            root,
            "memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        assert_eq!(cgroup_limit(groups, root), None);
        write(root, "memory/docker/1/memory.limit_in_bytes", "134217728\n");
        assert_eq!(cgroup_limit(groups, root), Some(128 << 20));
        assert_eq!(cgroup_limit("", root), None);
        assert_eq!(cgroup_limit("nonsense\n:\n0:\n", root), None);
    }

    #[test]
    fn the_machine_says_its_memory_in_kibibytes() {
        let text = "MemTotal:        2097152 kB\nMemFree: 1 kB\n";
        assert_eq!(total_memory(text), Some(2 << 30));
        assert_eq!(total_memory("MemTotal: many\n"), None);
    }

    fn available(cgroup: Option<u64>, machine: u64) -> Available {
        Available {
            cgroup: cgroup.map(|mib| mib << 20),
            machine: Some(machine << 20),
        }
    }

    #[test]
    fn half_of_what_there_is_is_the_limit_but_no_more_than_320_mib() {
        for (cgroup, machine, expected) in [
            (None, 16_384, 320),
            (None, 400, 200),
            (Some(512), 16_384, 256),
            (Some(128), 16_384, 64),
            (Some(8192), 400, 200),
        ] {
            let available = available(cgroup, machine);
            assert_eq!(available.default_limit(), expected * MIB, "{available:?}");
        }
        assert_eq!(Available::default().default_limit(), 320 * MIB);
    }

    #[test]
    fn receive_buffers_take_a_quarter_of_the_group_as_the_kernel_counts_them() {
        let buffer = |cgroup, sockets| available(cgroup, 16_384).default_receive_buffer(sockets);
        assert_eq!(buffer(None, 64), 64 * MIB);
        assert_eq!(buffer(Some(512), 2), 32 * MIB);
        assert_eq!(buffer(Some(8192), 2), 64 * MIB);
        assert_eq!(buffer(Some(1), 64), LEAST_RECEIVE_BUFFER);
    }
}
