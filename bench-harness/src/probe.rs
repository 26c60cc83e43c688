//! The host beside a result: its fingerprint, and what its disk does before and after a run. Both come from the tuning crate.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use coreline_tuning::Facts;
use coreline_tuning::knob::ProbeKind;
use coreline_tuning::prove::disk::DiskFile;
use coreline_tuning::sysfs::Root;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::interrupt;

/// Latencies, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub samples: u64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile; `None` below a thousand samples.
    pub p99: Option<f64>,
    /// The longest.
    pub max: f64,
}

/// What the disk below the data does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskProbe {
    /// False where the file system refuses to go past the page cache: the figures are then those of memory.
    pub is_direct: bool,
    /// Writing 1 MiB past the page cache, one after the other.
    pub write_1mib: Spread,
    /// Writing 4 KiB and flushing: the least that an acknowledgement from the disk can take.
    pub write_flush_4kib: Spread,
}

/// The probe before and after a run: neighbours on the same disk show as a difference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskProbes {
    /// Before the server started.
    pub before: DiskProbe,
    /// After the run; `None` when it could not be done any more.
    pub after: Option<DiskProbe>,
}

/// [`disk`], left alone when the flag is raised meanwhile; `None` then, and where the disk cannot be probed.
pub fn disk_unless(flag: &AtomicBool, dir: &Path, time: Duration) -> Option<DiskProbe> {
    let dir = dir.to_path_buf();
    interrupt::on_thread(flag, Duration::ZERO, move || disk(&dir, time).ok())?
}

/// Probes the disk of a directory for about twice `time`. It writes 32 MiB into a file without a name.
pub fn disk(dir: &Path, time: Duration) -> Result<DiskProbe, String> {
    let failed = |error: std::io::Error| format!("the disk below {} could not be probed: {error}", dir.display());
    let mut file = DiskFile::create(dir).map_err(failed)?;
    let mut spread = |kind| {
        let d = file.distribution(kind, time).map_err(failed)?;
        let carried = d.samples >= 1000;
        Ok::<Spread, String>(Spread { samples: d.samples as u64, p50: d.p50, p90: d.p90, p99: carried.then_some(d.p99), max: d.max })
    };
    Ok(DiskProbe {
        write_1mib: spread(ProbeKind::SequentialDisk)?,
        write_flush_4kib: spread(ProbeKind::WriteFlush)?,
        is_direct: file.is_direct,
    })
}

/// Digits of a SHA-256 that results carry: enough to tell builds apart.
const DIGITS: usize = 16;

/// The first digits of the SHA-256 of a file, as `sha256sum` of coreutils says; `None` where there is no such program or file, and once the flag is
/// raised.
pub fn sha256(file: &Path, flag: &AtomicBool) -> Option<String> {
    sum_of(Command::new("sha256sum").arg("--").arg(file), flag)
}

/// The same of the jars in a directory: of the list of their sums, as `cd DIR; sha256sum -- *.jar | sha256sum` has it.
pub fn sha256_of_jars(dir: &Path, flag: &AtomicBool) -> Option<String> {
    let list = "cd -- \"$0\" && sha256sum -- *.jar | sha256sum";
    sum_of(Command::new("/bin/sh").arg("-c").arg(list).arg(dir).env("LC_ALL", "C"), flag)
}

fn sum_of(command: &mut Command, flag: &AtomicBool) -> Option<String> {
    let out = interrupt::output(command, flag).ok()?;
    let text = String::from_utf8(out.stdout).ok().filter(|_| out.status.success())?;
    let digits = text.trim_start_matches('\\').get(..DIGITS)?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| digits.to_string())
}

/// The first digits of the SHA-256 of this program's executable; read once.
pub fn own_sha256() -> Option<String> {
    static OWN: OnceLock<Option<String>> = OnceLock::new();
    OWN.get_or_init(|| sha256(&std::env::current_exe().ok()?, &AtomicBool::new(false))).clone()
}

/// Parameters of the kernel that change how fast a host is; the others say only who set it up.
const PARAMETERS: [&str; 22] = [
    "amd_pstate",
    "clocksource",
    "cpufreq",
    "cpuidle",
    "cpuidle_haltpoll",
    "default_hugepagesz",
    "haltpoll",
    "hugepages",
    "idle",
    "intel_idle",
    "intel_pstate",
    "isolcpus",
    "mitigations",
    "nohz_full",
    "nosmt",
    "numa_balancing",
    "preempt",
    "processor",
    "psi",
    "rcu_nocbs",
    "transparent_hugepage",
    "tsc",
];

/// Everything known of this host that belongs beside every result. What tells this host from others of its kind and nothing of its speed (name,
/// boot id, other kernel parameters) is left out, so that a result can be published.
pub fn host() -> Value {
    let facts = Facts::read(&Root::at("/"));
    let mut value = serde_json::to_value(&facts).unwrap_or(Value::Null);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("boot_id");
        if let Some(line) = fields.get("kernel_command_line").and_then(Value::as_str).map(parameters) {
            fields.insert("kernel_command_line".into(), Value::String(line));
        }
    }
    value
}

fn parameters(line: &str) -> String {
    let name = |word: &str| word.split(['=', '.']).next().unwrap_or("").to_string();
    let kept = line.split_whitespace().take_while(|word| *word != "--").filter(|word| PARAMETERS.contains(&name(word).as_str()));
    kept.collect::<Vec<_>>().join(" ")
}

/// The host in one line: CPU, number of CPUs, memory, kernel, virtualisation.
pub fn host_line(host: &Value) -> String {
    let text = |name: &str| host.get(name).and_then(Value::as_str);
    let mut parts: Vec<String> = Vec::new();
    parts.extend(text("cpu_model").map(str::to_string));
    parts.extend(text("cpus_online").map(|cpus| format!("CPUs {cpus}")));
    parts.extend(host.get("memory_bytes").and_then(Value::as_f64).map(|bytes| format!("{:.0} GiB", bytes / (1u64 << 30) as f64)));
    parts.extend(text("kernel_release").map(|release| format!("Linux {release}")));
    parts.extend(host.get("platform").and_then(|p| p.get("kind")).and_then(Value::as_str).map(str::to_string));
    if parts.is_empty() { "unknown host".into() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_probed_and_the_file_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let probe = disk(dir.path(), Duration::from_millis(50)).expect("probes");
        let write = probe.write_flush_4kib;
        assert!(write.samples > 0 && write.p50 > 0.0 && write.p50 <= write.max, "{probe:?}");
        assert_eq!(write.p99.is_some(), write.samples >= 1000);
        assert_eq!(std::fs::read_dir(dir.path()).map(Iterator::count).unwrap_or(9), 0);
        assert!(disk(&dir.path().join("nowhere"), Duration::ZERO).is_err());
    }

    #[test]
    fn files_and_jars_have_the_sums_that_anybody_else_gets() {
        let dir = tempfile::tempdir().expect("a directory");
        let flag = AtomicBool::new(false);
        std::fs::write(dir.path().join("-a.jar"), "a").expect("writes");
        // printf a | sha256sum
        assert_eq!(sha256(&dir.path().join("-a.jar"), &flag).as_deref(), Some("ca978112ca1bbdca"));
        // printf 'ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  -a.jar\n' | sha256sum
        assert_eq!(sha256_of_jars(dir.path(), &flag).as_deref(), Some("5a2e26cb4bcb8c98"));
        std::fs::write(dir.path().join("b.jar"), "").expect("writes");
        assert_ne!(sha256_of_jars(dir.path(), &flag).as_deref(), Some("5a2e26cb4bcb8c98"));
        assert_eq!((sha256(&dir.path().join("c"), &flag), sha256_of_jars(&dir.path().join("c"), &flag)), (None, None));
        assert_eq!(own_sha256().map(|digits| digits.len()), Some(DIGITS));
    }

    #[test]
    fn the_host_has_one_line() {
        let host = host();
        assert!(host_line(&host).contains("Linux"), "{host}");
        assert_eq!(host_line(&Value::Null), "unknown host");
    }

    #[test]
    fn only_parameters_that_matter_are_kept() {
        let line = "mitigations=auto console=ttyS0 haltpoll.guest_halt_poll_ns=0 host=secret isolcpus=1 -- --psi";
        assert_eq!(parameters(line), "mitigations=auto haltpoll.guest_halt_poll_ns=0 isolcpus=1");
    }
}
