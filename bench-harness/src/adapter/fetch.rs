//! Apache Kafka's jars: fetched once by Maven from Maven Central by their coordinates, checked against pinned SHA-256 sums, kept in a cache.
//!
//! The cache is `$XDG_CACHE_HOME/coreline-bench/kafka-VERSION` (or `~/.cache/...`). A directory that carries the name is complete and checked: it
//! is filled under another name and renamed. Maven brings the proxies and mirrors that its user has configured; the sums hold for any of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::kafka::VERSION;
use crate::error::BenchError;
use crate::interrupt::{self, Flag};

/// Coordinates.
const POM: &str = include_str!("../../kafka/pom.xml");
/// SHA-256 of every jar that they resolve to, in the format of `sha256sum`.
const SUMS: &str = include_str!("../../kafka/jars.sha256");

/// The directory of the jars; fetches them when they are not there yet.
pub(super) fn jars(flag: &Flag) -> Result<PathBuf, BenchError> {
    let cache =
        cache_directory().ok_or_else(|| BenchError::Config("neither XDG_CACHE_HOME nor HOME is set; give --kafka-libs DIR".into()))?;
    let wanted = cache.join(format!("kafka-{VERSION}"));
    if wanted.is_dir() {
        return Ok(wanted);
    }
    let failed = |what: String| move |error| BenchError::host(what, error);
    fs::create_dir_all(&cache).map_err(failed(format!("making {}", cache.display())))?;
    let filling =
        tempfile::Builder::new().prefix("kafka-fetch-").tempdir_in(&cache).map_err(failed("making a directory in the cache".into()))?;
    fs::write(filling.path().join("pom.xml"), POM).map_err(failed("writing the coordinates".into()))?;
    let libs = filling.path().join("libs");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-C", "-f"]).arg(filling.path().join("pom.xml"));
    maven.arg("dependency:copy-dependencies").arg(format!("-DoutputDirectory={}", libs.display()));
    run(&mut maven, "fetching Apache Kafka", flag)?;
    check(&libs, SUMS, flag)?;
    match fs::rename(&libs, &wanted) {
        // Another run was faster, with the same content.
        Err(_) if wanted.is_dir() => Ok(wanted),
        done => done.map(|()| wanted).map_err(failed("keeping Apache Kafka's jars".into())),
    }
}

fn cache_directory() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Some(set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?.join("coreline-bench"))
}

/// Every jar of the list is there with its sum, and nothing else is.
fn check(libs: &Path, sums: &str, flag: &Flag) -> Result<(), BenchError> {
    let listed: Vec<&str> = sums.lines().filter_map(|line| line.split_once("  ").map(|(_, name)| name)).collect();
    let entries = fs::read_dir(libs).map_err(|error| BenchError::host(format!("reading {}", libs.display()), error))?;
    let present: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    if let Some(stranger) = present.iter().find(|name| !listed.contains(&name.as_str())) {
        return Err(BenchError::Config(format!("Apache Kafka as fetched holds {stranger}, which is not in the pinned list")));
    }
    let list = libs.with_file_name("jars.sha256");
    fs::write(&list, sums).map_err(|error| BenchError::host("writing the list of sums", error))?;
    let mut sum = Command::new("sha256sum");
    run(sum.current_dir(libs).args(["--check", "--strict", "--quiet"]).arg(&list), "checking Apache Kafka's jars", flag)
}

fn run(command: &mut Command, what: &str, flag: &Flag) -> Result<(), BenchError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = interrupt::output(command, flag);
    // In a terminal Ctrl-C reaches the command too.
    interrupt::check(flag)?;
    let out = out.map_err(|error| BenchError::host(format!("{what} with {program} (or give --kafka-libs DIR)"), error))?;
    if out.status.success() {
        return Ok(());
    }
    let said = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let said: Vec<&str> = said.lines().take(12).collect();
    Err(BenchError::Config(format!(
        "{what} with {program} failed ({}); --kafka-libs DIR takes jars from a directory:\n{}",
        out.status,
        said.join("\n")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_pinned_passes() {
        let flag = Flag::default();
        let dir = tempfile::tempdir().expect("a directory");
        let libs = dir.path().join("libs");
        fs::create_dir(&libs).expect("makes");
        fs::write(libs.join("a.jar"), "a").expect("writes");
        // printf a | sha256sum
        let sums = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a.jar\n";
        check(&libs, sums, &flag).expect("is as pinned");
        assert!(check(&libs, &sums.replace("ca97", "ca98"), &flag).is_err(), "another content");
        assert!(check(&libs, &format!("{sums}{}", sums.replace("a.jar", "b.jar")), &flag).is_err(), "one is missing");
        fs::write(libs.join("c.jar"), "c").expect("writes");
        let error = check(&libs, sums, &flag).expect_err("one too many").to_string();
        assert!(error.contains("c.jar"), "{error}");
    }

    #[test]
    fn the_pinned_list_names_the_pinned_version() {
        assert!(SUMS.contains(&format!("  kafka-clients-{VERSION}.jar")) && POM.contains(&format!("<version>{VERSION}</version>")));
        assert!(SUMS.lines().all(|line| line.len() > 66 && line.ends_with(".jar")));
    }
}
