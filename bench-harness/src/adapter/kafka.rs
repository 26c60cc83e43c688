//! Apache Kafka as a target: one KRaft node with the defaults of its distribution, except for what a single node on loopback needs.

use std::fs;
use std::path::Path;

use super::fetch;
use super::local::{Place, Recipe};
use crate::error::BenchError;
use crate::interrupt::Flag;
use crate::probe;

/// What is measured; the jars are pinned to it.
pub(super) const VERSION: &str = "4.3.1";
/// Of the throw-away cluster; the same every time, so that formatting is repeatable.
const CLUSTER_ID: &str = "Y29yZWxpbmUtYmVuY2ggMQ";
/// Runtime options of Kafka's own start script, without its heap.
const JVM: [&str; 5] =
    ["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-Djava.awt.headless=true"];
/// What a single node on loopback needs; everything else is Kafka's default. Shown in every report.
const NEEDED: [(&str, &str); 7] = [
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("controller.listener.names", "CONTROLLER"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
];

pub(super) fn recipe(
    libs: Option<&Path>,
    settings: &[(String, String)],
    heap: &str,
    durable: bool,
    place: &Place,
    flag: &Flag,
) -> Result<Recipe, BenchError> {
    let libs = match libs {
        Some(libs) => libs.to_path_buf(),
        None => fetch::jars(flag)?,
    };
    let version = version_of(&libs)?;
    let mut chosen: Vec<(String, String)> = Vec::new();
    if durable {
        chosen.push(("log.flush.interval.messages".into(), "1".into()));
    }
    chosen.extend(settings.iter().cloned());
    let write = |name: &str, text: &str| {
        let path = place.dir.join(name);
        fs::write(&path, text).map_err(|error| BenchError::host(format!("writing {}", path.display()), error))?;
        Ok::<String, BenchError>(path.display().to_string())
    };
    let properties = write("server.properties", &properties(place, &chosen))?;
    let logging = write("log4j2.xml", LOGGING)?;
    let java = |heap: &[String], main: &str, arguments: &[&str]| {
        let mut argv = vec!["java".to_string()];
        argv.extend_from_slice(heap);
        argv.extend([format!("-Dlog4j2.configurationFile={logging}"), "-cp".into(), format!("{}/*", libs.display()), main.into()]);
        argv.extend(arguments.iter().map(|text| text.to_string()));
        argv
    };
    let server_options: Vec<String> =
        [format!("-Xms{heap}"), format!("-Xmx{heap}")].into_iter().chain(JVM.iter().map(|option| option.to_string())).collect();
    let format_options = ["-XX:TieredStopAtLevel=1".to_string(), "-XX:+UseSerialGC".to_string()];
    let format_arguments = ["format", "-t", CLUSTER_ID, "--ignore-formatted", "-c", properties.as_str()];
    chosen.push(("heap".into(), heap.into()));
    Ok(Recipe {
        argv: java(&server_options, "kafka.Kafka", &[&properties]),
        environment: Vec::new(),
        version: Some(version),
        sha256: probe::sha256_of_jars(&libs, flag),
        settings: chosen,
        admin: None,
        format: Some(java(&format_options, "kafka.tools.StorageTool", &format_arguments)),
    })
}

fn properties(place: &Place, chosen: &[(String, String)]) -> String {
    let Place { data, port, second_port, .. } = place;
    let mut text = format!(
        "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{second_port}\nadvertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.quorum.voters=1@127.0.0.1:{second_port}\nlog.dirs={}\n",
        data.display()
    );
    // The last line of a key counts, so what was asked for comes last.
    let needed = NEEDED.iter().map(|(key, value)| (*key, *value));
    for (key, value) in needed.chain(chosen.iter().map(|(key, value)| (key.as_str(), value.as_str()))) {
        text.push_str(&format!("{key}={value}\n"));
    }
    text
}

/// The version in the name of the clients' jar.
fn version_of(libs: &Path) -> Result<String, BenchError> {
    let entries = fs::read_dir(libs)
        .map_err(|error| BenchError::Config(format!("{}: no directory of Apache Kafka's jars: {error}", libs.display())))?;
    let names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let version = |name: &String| name.strip_prefix("kafka-clients-")?.strip_suffix(".jar").map(str::to_string);
    let found = names.iter().find_map(version);
    found.ok_or_else(|| {
        BenchError::Config(format!("{}: no kafka-clients-VERSION.jar in it; give the directory of Kafka's jars", libs.display()))
    })
}

/// Warnings and errors only, to standard error.
const LOGGING: &str = r#"<Configuration status="ERROR">
  <Appenders><Console name="S" target="SYSTEM_ERR"><PatternLayout pattern="[%d] %p %m (%c)%n"/></Console></Appenders>
  <Loggers><Root level="WARN"><AppenderRef ref="S"/></Root></Loggers>
</Configuration>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_comes_after_what_is_needed() {
        let place = Place { dir: "/x".into(), data: "/x/data".into(), port: 1, second_port: 2 };
        let text = properties(&place, &[("node.id".into(), "7".into())]);
        let ids: Vec<&str> = text.lines().filter(|line| line.starts_with("node.id=")).collect();
        assert_eq!(ids, ["node.id=1", "node.id=7"], "of equal keys the last line counts");
        assert!(text.contains("listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2\n"), "{text}");
    }

    #[test]
    fn a_directory_without_jars_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let error = version_of(dir.path()).expect_err("empty").to_string();
        assert!(error.contains("kafka-clients"), "{error}");
        fs::write(dir.path().join("kafka-clients-4.3.1.jar"), "").expect("writes");
        assert_eq!(version_of(dir.path()).ok().as_deref(), Some(VERSION));
    }
}
