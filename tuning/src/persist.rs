//! Settings that last: a oneshot unit, limits and CPUs for the broker's unit, a sysctl fragment, a udev rule, bans for irqbalance, each with where it
//! came from.
//!
//! The unit applies the whole profile at each start; fragment and rule set early, and for devices that come later, what they can express. Nothing is
//! undone when the unit stops: a rollback at the wrong moment is an outage. The kernel command line is text for a person, never a file. Files
//! that do not carry our first line are not overwritten and not removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::facts::{Facts, last, part};
use crate::journal::{Entry, Stamp};
use crate::plan;
use crate::profile::Profile;
use crate::value::date;

/// First line of every file that is ours.
const MARK: &str = "# made by coreline-tune persist";

const UNIT: &str = "etc/systemd/system/coreline-tune.service";
const LIMITS: &str = "etc/systemd/system/coreline.service.d/50-coreline-tune.conf";
const SLICE: &str = "etc/systemd/system/coreline.slice";
const SYSCTL: &str = "etc/sysctl.d/90-coreline-tune.conf";
const UDEV: &str = "etc/udev/rules.d/90-coreline-tune.rules";
/// Drop-in for the unit of irqbalance, and the variables that it names.
pub(crate) const IRQBALANCE: &str = "etc/systemd/system/irqbalance.service.d/50-coreline-tune.conf";
const IRQBALANCE_VARIABLES: &str = "etc/default/irqbalance-coreline";
/// All that may be ours.
const PATHS: [&str; 7] = [UNIT, LIMITS, SLICE, SYSCTL, UDEV, IRQBALANCE, IRQBALANCE_VARIABLES];

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutFile {
    /// Below the root, without a leading `/`.
    pub path: &'static str,
    /// Its text.
    pub text: String,
}

/// What `persist` makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Files.
    pub files: Vec<OutFile>,
    /// For review only.
    pub command_line: String,
}

impl Made {
    /// True when irqbalance has to be started anew.
    pub fn tells_irqbalance(&self) -> bool {
        self.files.iter().any(|file| file.path == IRQBALANCE)
    }
}

/// Why files were not written.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// The file system says no.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// Somebody else's file.
    #[error("{path} is not ours (its first line is not {MARK:?}): move it away first; nothing was written")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
}

/// Makes the files for a profile on this host; `in_force` are the entries of open batches, oldest first. Pure.
pub fn make(facts: &Facts, in_force: &[Entry], profile: &Profile, stamp: &Stamp, cpus: Option<&str>) -> Made {
    let settings = wanted(facts, in_force, profile);
    let head = head(facts, profile, stamp);
    let file = |path, text: String| OutFile { path, text: format!("{MARK}\n{head}{text}") };
    let mut files = vec![file(UNIT, unit(profile)), file(LIMITS, limits(profile, cpus))];
    if let Some(cpus) = cpus {
        // A slice of its own, so that `cpu_partition` can set the CPUs apart.
        files.push(file(SLICE, format!("[Slice]\n# cpu_isolation: the shards' CPUs\nAllowedCPUs={cpus}\n")));
    }
    files.extend([file(SYSCTL, sysctl(&settings)), file(UDEV, udev(&settings))]);
    if facts.runs_irqbalance() && profile.wishes.contains_key("net_irq") {
        files.extend([file(IRQBALANCE, irqbalance_unit()), file(IRQBALANCE_VARIABLES, irqbalance_variables(facts))]);
    }
    Made { files, command_line: command_line(facts, cpus) }
}

/// Knob and value by path: what the profile changes on this host as it was before we changed anything.
fn wanted(facts: &Facts, in_force: &[Entry], profile: &Profile) -> BTreeMap<String, (String, String)> {
    let mut snapshot = facts.snapshot.clone();
    // Newest first, so that the oldest value stays.
    for entry in in_force.iter().rev() {
        let now = snapshot.get(&entry.path).map(|t| entry.format.normal(t));
        if entry.new.is_some() && now == entry.new {
            let before = entry.format.chosen(snapshot.get(&entry.path).unwrap_or(""), &entry.old);
            snapshot.insert(entry.path.clone(), before);
        }
    }
    let before = Facts::of(snapshot, &facts.data_dir);
    plan::plan(&before, profile).steps.into_iter().map(|s| (s.path, (s.knob, s.new))).collect()
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn head(facts: &Facts, profile: &Profile, stamp: &Stamp) -> String {
    format!(
        "# profile {}, coreline-tune {}, by {}, at {}, for {} ({})\n# why: coreline-tune explain KNOB; undo: coreline-tune persist --remove --out /\n",
        clean(&profile.name),
        stamp.program,
        clean(&stamp.who),
        date(stamp.at_unix_ms),
        clean(facts.snapshot.get("/proc/sys/kernel/hostname").unwrap_or("this host")),
        facts.platform.kind.name(),
    )
}

fn unit(profile: &Profile) -> String {
    let built_in = Profile::load(&profile.name).is_ok_and(|known| known.wishes == profile.wishes);
    let knobs: String = profile.wishes.iter().map(|(id, value)| format!(" --with {id}={value}")).collect();
    // A profile of the user's own may move, and the command line may have changed one: then the wishes are written out.
    let choice = if built_in { format!("--profile {}", profile.name) } else { format!("--only{knobs}") };
    let slice = if profile.wishes.contains_key("cpu_partition") { "Wants=coreline.slice\nAfter=coreline.slice\n" } else { "" };
    format!(
        "[Unit]\nDescription=Host settings for Coreline\nAfter=systemd-sysctl.service systemd-udevd.service\n{slice}Before=coreline.service\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/coreline-tune apply {choice} --yes\n\
         # No ExecStop: settings stay when the unit stops. `coreline-tune rollback` puts them back.\n\n[Install]\nWantedBy=multi-user.target\n"
    )
}

fn limits(profile: &Profile, cpus: Option<&str>) -> String {
    let unit = &profile.unit;
    let mut text = format!(
        "[Unit]\nWants=coreline-tune.service\nAfter=coreline-tune.service\n\n[Service]\n# memlock: rings and registered buffers\nLimitMEMLOCK={}\n# open_files: segments and connections\nLimitNOFILE={}\n",
        clean(&unit.memlock),
        unit.nofile
    );
    if !unit.swap {
        text += "# swappiness: better than any value of it\nMemorySwapMax=0\n";
    }
    match cpus {
        Some(cpus) => text += &format!("# cpu_isolation: the shards' CPUs\nSlice=coreline.slice\nCPUAffinity={cpus}\n"),
        None => text += "# cpu_isolation: CPUs of its own, when wanted (persist --cpus 2-7)\n#CPUAffinity=2-7\n#AllowedCPUs=2-7\n",
    }
    text
}

fn sysctl(settings: &BTreeMap<String, (String, String)>) -> String {
    let lines = settings.iter().filter_map(|(path, (knob, value))| {
        let name = path.strip_prefix("/proc/sys/")?.replace('/', ".");
        Some(format!("# {knob}\n{name} = {value}\n"))
    });
    let text: String = lines.collect();
    if text.is_empty() { "# nothing for this profile on this host\n".to_owned() } else { text }
}

fn udev(settings: &BTreeMap<String, (String, String)>) -> String {
    let mut rules = BTreeSet::new();
    for (path, (knob, value)) in settings {
        let name = last(path);
        let (subsystem, device, attribute) = if let Some(rest) = path.strip_prefix("/sys/block/") {
            // Partitions have no queue of their own.
            ("block\", ENV{DEVTYPE}==\"disk", family(part(rest, 0)), format!("queue/{name}"))
        } else if let Some(rest) = path.strip_prefix("/sys/class/net/") {
            let (device, attribute) = rest.split_once('/').unwrap_or((rest, ""));
            ("net", device.to_owned(), attribute.to_owned())
        } else {
            continue;
        };
        // Attributes of later ranks (queue lengths) come after the scheduler that would reset them.
        let order = u8::from(name != "scheduler");
        rules.insert((
            order,
            format!(
                "# {knob}\nACTION==\"add|change\", SUBSYSTEM==\"{subsystem}\", KERNEL==\"{device}\", ATTR{{{attribute}}}=\"{value}\"\n"
            ),
        ));
    }
    let text: String = rules.into_iter().map(|(_, rule)| rule).collect();
    if text.is_empty() { "# nothing for this profile on this host\n".to_owned() } else { text }
}

/// All devices of a kind: a disk may be called otherwise after the next start.
fn family(device: &str) -> String {
    if device.starts_with("nvme") {
        return "nvme[0-9]*n[0-9]*".to_owned();
    }
    for prefix in ["vd", "xvd", "sd"] {
        if device.strip_prefix(prefix).is_some_and(|rest| rest.chars().all(|c| c.is_ascii_lowercase())) {
            return if prefix == "sd" { device.to_owned() } else { format!("{prefix}[a-z]*") };
        }
    }
    device.to_owned()
}

fn command_line(facts: &Facts, cpus: Option<&str>) -> String {
    let all = facts.cpus();
    let set_apart = match cpus {
        Some(cpus) => cpus.to_owned(),
        None if all.len() >= 4 => format!("{}-{}", all.len() / 4, all.len() - 1),
        None => return "nothing: too few CPUs to set some apart".to_owned(),
    };
    format!("isolcpus=managed_irq,domain,{set_apart} nohz_full={set_apart} rcu_nocbs={set_apart} skew_tick=1")
}

/// The last file named wins for a variable, whatever the unit names itself.
fn irqbalance_unit() -> String {
    format!(
        "# irqbalance: the network devices' interrupts stay where net_irq puts them\n[Service]\nEnvironmentFile=/{IRQBALANCE_VARIABLES}\n"
    )
}

/// What the owner's file gives irqbalance, and the bans. Units of some distributions read one of the names, of others the other.
fn irqbalance_variables(facts: &Facts) -> String {
    let of_owner = ["/etc/default/irqbalance", "/etc/sysconfig/irqbalance"].iter().filter_map(|path| facts.snapshot.get(path)).next();
    let value = |name: &str| -> String {
        let line = of_owner.unwrap_or("").lines().rev().find_map(|l| l.trim().strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or("").trim().trim_matches(['"', '\'']).to_owned()
    };
    let mut drivers: BTreeSet<String> = facts.network.iter().filter(|n| n.is_multi_queue()).filter_map(|n| n.driver.clone()).collect();
    if drivers.iter().any(|d| d.starts_with("virtio")) {
        // The interrupts belong to the transport below.
        drivers.insert("virtio-pci".to_owned());
    }
    let bans: String = drivers.iter().map(|driver| format!(" --banmod={}", clean(driver))).collect();
    ["IRQBALANCE_ARGS", "OPTIONS"].map(|name| format!("{name}=\"{}\"\n", format!("{}{bans}", clean(&value(name))).trim())).concat()
}

/// Writes the files below `out`; checks all of them before it touches one.
pub fn write(out: &str, files: &[OutFile]) -> Result<Vec<String>, PersistError> {
    for file in files {
        let path = Path::new(out).join(file.path);
        if path.symlink_metadata().is_ok() && !is_ours(&path) {
            return Err(PersistError::Foreign { path });
        }
    }
    let mut written = Vec::new();
    for file in files {
        let path = Path::new(out).join(file.path);
        write_one(&path, &file.text).map_err(|source| PersistError::Io { path: path.clone(), source })?;
        written.push(path.display().to_string());
    }
    Ok(written)
}

/// Whole or not at all: systemd may read at any moment.
fn write_one(path: &Path, text: &str) -> io::Result<()> {
    let Some(dir) = path.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    std::fs::create_dir_all(dir)?;
    let new = path.with_extension("coreline-new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

fn is_ours(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.starts_with(MARK))
}

/// Removes our files below `out` and says which.
pub fn remove(out: &str) -> Result<Vec<String>, PersistError> {
    let mut removed = Vec::new();
    for path in present(out) {
        std::fs::remove_file(&path).map_err(|source| PersistError::Io { path: PathBuf::from(&path), source })?;
        removed.push(path);
    }
    Ok(removed)
}

/// Our files below `root`.
pub fn present(root: &str) -> Vec<String> {
    let paths = PATHS.map(|p| Path::new(root).join(p));
    paths.iter().filter(|p| is_ours(p)).map(|p| p.display().to_string()).collect()
}
