//! Limits that stop the broker or its connections: io_uring, locked memory, open files, accept backlog, kernel age.

use super::About;
use crate::{Facts, Finding, Severity};

/// Locked memory that rings and registered buffers of one shard may need, in bytes.
const MEMLOCK_WANTED: u64 = 8 << 20;
/// Enough for 10,000 partitions and 10,000 connections with two files each.
const NOFILE_WANTED: u64 = 65_536;
const SOMAXCONN_WANTED: u64 = 1024;
/// First kernel with `cachestat(2)`, which keeps cold reads off the shards.
const KERNEL_WANTED: (u32, u32) = (6, 5);

pub(super) fn io_uring(facts: &Facts) -> Finding {
    About {
        id: "io_uring",
        wanted: "0",
        effect: "the broker does all its I/O through io_uring and cannot start without it",
        remedy: "sysctl -w kernel.io_uring_disabled=0; in a container also allow io_uring_* in the seccomp profile",
    }
    .judge(facts.io_uring_disabled, |&v| v == 0, Severity::Fatal)
}

pub(super) fn memlock(facts: &Facts) -> Finding {
    let about = About {
        id: "memlock",
        wanted: ">= 8 MiB",
        effect: "rings and registered buffers do not fit; shards fail to start or copy more",
        remedy: "LimitMEMLOCK=infinity in the unit file, or `ulimit -l unlimited`",
    };
    about.judge(facts.memlock_bytes, |&v| v >= MEMLOCK_WANTED, Severity::Fatal)
}

pub(super) fn open_files(facts: &Facts) -> Finding {
    let about = About {
        id: "open_files",
        wanted: ">= 65536",
        effect: "connections are refused when files and sockets run out",
        remedy: "LimitNOFILE=1048576 in the unit file, or /etc/security/limits.conf",
    };
    about.judge(facts.nofile_hard, |&v| v >= NOFILE_WANTED, Severity::Advice)
}

pub(super) fn accept_backlog(facts: &Facts) -> Finding {
    let about = About {
        id: "accept_backlog",
        wanted: ">= 1024",
        effect: "a burst of reconnecting clients sees dropped connection attempts",
        remedy: "sysctl -w net.core.somaxconn=4096",
    };
    about.judge(facts.somaxconn, |&v| v >= SOMAXCONN_WANTED, Severity::Advice)
}

pub(super) fn kernel_release(facts: &Facts) -> Finding {
    let about = About {
        id: "kernel_release",
        wanted: ">= 6.5",
        effect: "without cachestat(2) cold reads are found by a slower probe",
        remedy: "run a newer kernel",
    };
    about.judge(facts.kernel_release.clone(), |release| version(release) >= Some(KERNEL_WANTED), Severity::Advice)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
