//! How much memory this process can still allocate.
//!
//! A Rust program aborts when the system refuses an allocation. Some systems grant more memory than they have; then a
//! signal ends the program later, when it uses the memory. So code that allocates a size claimed by a file or a
//! configuration asks here first and returns an error where the memory does not suffice.
//!
//! Three things limit a process, and the tightest counts: the memory of the machine, the memory limit of the group of
//! processes that it belongs to (cgroups; every container is one), and its address space (`ulimit -v`, `ulimit -d`).
//! Linux reports all of them in files. Other systems report less; there only sizes that no machine has are refused.

use std::fmt;
#[cfg(target_os = "linux")]
use std::fs;
#[cfg(target_os = "linux")]
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The limit where the system reports none: a tebibyte.
const UNKNOWN: u64 = 1 << 40;

/// Bytes held back for threads, code and other allocations.
const SPARE: u64 = 32 << 20;

/// An amount of memory, and the limit that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    limit: Limit,
}

impl Available {
    /// Returns whether the system reported a limit.
    pub fn is_reported(&self) -> bool {
        self.limit != Limit::Unknown
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Machine,
    Group,
    AddressSpace,
    Data,
    Unknown,
}

impl fmt::Display for Available {
    /// `the memory of this machine leaves 2.0 GiB`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = match self.limit {
            Limit::Machine => "the memory of this machine leaves",
            Limit::Group => "the memory limit of this container or group of processes leaves",
            Limit::AddressSpace => "the memory limit of this process (ulimit -v) leaves",
            Limit::Data => "the memory limit of this process (ulimit -d) leaves",
            Limit::Unknown => "no machine has more than",
        };
        write!(f, "{limit} {}", Bytes(self.bytes.into()))
    }
}

/// Displays a number of bytes for people: `512 bytes`, `3.5 GiB`.
pub struct Bytes(pub u128);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let mut size = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while size >= 1023.95 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        write!(f, "{size:.1} {}", UNITS[unit])
    }
}

/// Checks that `bytes` can be allocated now.
///
/// # Errors
/// The available memory, where it is less.
pub fn check(bytes: u128) -> Result<(), Available> {
    let available = now();
    match bytes <= u128::from(available.bytes) {
        true => Ok(()),
        false => Err(available),
    }
}

/// Returns an error where `bytes` exceed the available memory. `what` begins the message and names the thing that needs
/// the memory; `cure` says what to do.
///
/// # Errors
/// One line with the needed and the available memory.
pub fn require(bytes: u128, what: impl fmt::Display, cure: impl fmt::Display) -> Result<()> {
    check(bytes).map_err(|available| {
        let needed = Bytes(bytes);
        Error::usage(format_args!(
            "{what} takes {needed} of memory, and {available}; {cure}"
        ))
    })
}

/// Returns the memory that this process can still allocate, as the system reports it at this moment.
pub fn now() -> Available {
    let limits = limits();
    let tightest = limits.into_iter().flatten().min_by_key(|limit| limit.bytes);
    match tightest {
        Some(limit) => Available {
            bytes: limit.bytes.saturating_sub(SPARE),
            ..limit
        },
        None => Available {
            bytes: UNKNOWN,
            limit: Limit::Unknown,
        },
    }
}

#[cfg(not(target_os = "linux"))]
fn limits() -> [Option<Available>; 4] {
    [None; 4]
}

#[cfg(target_os = "linux")]
fn limits() -> [Option<Available>; 4] {
    use rustix::process::{Resource, getrlimit};
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let status = text("/proc/self/status");
    let left = |resource, used: &str| {
        let most = getrlimit(resource).current?;
        Some(most.saturating_sub(field(&status, used)?))
    };
    let of = |limit| move |bytes| Available { bytes, limit };
    [
        machine(&text("/proc/meminfo")).map(of(Limit::Machine)),
        group(&text("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")).map(of(Limit::Group)),
        left(Resource::As, "VmSize").map(of(Limit::AddressSpace)),
        left(Resource::Data, "VmData").map(of(Limit::Data)),
    ]
}

/// Reads a field that a file of `/proc` gives in kilobytes; returns bytes.
#[cfg(target_os = "linux")]
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(field, _)| *field == name)?;
    let kilobytes: u64 = value.trim().trim_end_matches("kB").trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Memory left on the machine: free or reclaimable memory, and free swap.
#[cfg(target_os = "linux")]
fn machine(meminfo: &str) -> Option<u64> {
    let memory = field(meminfo, "MemAvailable")?;
    Some(memory.saturating_add(field(meminfo, "SwapFree").unwrap_or(0)))
}

/// Memory left in the tightest group that the process is in, or `None` where no group has a limit. `groups` is the text of
/// `/proc/self/cgroup`, and `root` the folder where the system mounts the groups.
#[cfg(target_os = "linux")]
fn group(groups: &str, root: &Path) -> Option<u64> {
    let left = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let is_memory = controllers.split(',').any(|name| name == "memory");
        // Version 2 of cgroups has one tree for all controllers, version 1 has one tree for each.
        let files = match controllers {
            "" => Some((
                root.to_path_buf(),
                ["memory.max", "memory.current"],
                "inactive_file",
            )),
            _ if is_memory => Some((
                root.join("memory"),
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
                "total_inactive_file",
            )),
            _ => None,
        };
        files.into_iter().flat_map(move |(tree, names, cached)| {
            // The limit of a group also binds the groups within it. In a container, the path may be one that only the host
            // sees; the root is the group itself there.
            let within = path.trim_start_matches('/');
            let folders: Vec<PathBuf> = tree
                .join(within)
                .ancestors()
                .map(Path::to_path_buf)
                .collect();
            let own = folders
                .into_iter()
                .filter(move |folder| folder.starts_with(&tree));
            own.filter_map(move |folder| left_of(&folder, names, cached))
        })
    });
    left.min()
}

/// Memory left in one group. Cached file pages that were not read lately count as used, but the system reclaims them when
/// memory is needed.
#[cfg(target_os = "linux")]
fn left_of(folder: &Path, [most, used]: [&str; 2], cached: &str) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse().ok()
    };
    // A group without a limit has `max` here, which does not parse as a number.
    let (most, used) = (number(most)?, number(used)?);
    let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = statistics.lines().find_map(|line| {
        let value = line.strip_prefix(cached)?.strip_prefix(' ')?;
        value.parse::<u64>().ok()
    });
    Some(most.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (3 << 29, "1.5 GiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (u128::from(u64::MAX), "16.0 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn more_memory_than_exists_is_refused_and_a_page_is_not() {
        require(4096, "a page", "-").unwrap();
        let message = require(1 << 60, "a lot", "take less").unwrap_err();
        let message = message.to_string();
        assert!(
            message.starts_with("a lot takes 1.0 EiB of memory, and "),
            "{message}"
        );
        assert!(message.ends_with("; take less"), "{message}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells() {
        let now = now();
        assert!(
            now.limit != Limit::Unknown && now.bytes > 1 << 20,
            "{now:?}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn files_of_the_system_are_understood() {
        let meminfo = "MemTotal: 100 kB\nMemAvailable:   30 kB\nSwapFree: 12 kB\n";
        assert_eq!(machine(meminfo), Some(42 << 10));
        assert_eq!(machine("MemTotal: 100 kB\n"), None);
        assert_eq!(field("VmSize:\t    7 kB\n", "VmSize"), Some(7 << 10));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_tightest_group_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let left = |groups: &str| group(groups, dir.path());
        assert_eq!(left("0::/a/b\n"), None);
        write("a/memory.max", "1000\n");
        write("a/memory.current", "700\n");
        write("a/memory.stat", "anon 500\ninactive_file 100\n");
        write("a/b/memory.max", "max\n");
        write("a/b/memory.current", "10\n");
        assert_eq!(left("0::/a/b\n"), Some(400));
        // The path of a host that a container does not see.
        write("memory.max", "50");
        write("memory.current", "60");
        assert_eq!(left("0::/../elsewhere\n"), Some(0));
        write("memory/x/memory.limit_in_bytes", "9000");
        write("memory/x/memory.usage_in_bytes", "1000");
        write("memory/x/memory.stat", "total_inactive_file 5\n");
        assert_eq!(left("3:cpu:/x\n4:cpuset,memory:/x\n"), Some(8005));
    }
}
