//! Precedence, sources and refusals of the static configuration.

use super::*;

fn problems(f: impl FnOnce(&mut ConfigBuilder)) -> Vec<String> {
    let mut builder = ConfigBuilder::new();
    f(&mut builder);
    builder.finish().map_or_else(|e| e.0.iter().map(Problem::to_string).collect(), |_| Vec::new())
}

#[test]
fn the_last_source_wins_and_is_remembered() {
    let mut builder = ConfigBuilder::new();
    builder.file("c.toml", "num.partitions = 2\n[log]\nretention.ms = 5\nsegment.bytes = 2_000_000\n");
    builder.set("num.partitions=3");
    builder.set("shards=4");
    builder.flag("--shards", "shards", "2");
    let config = builder.finish().expect("valid");
    let source = |name: &str| config.entry(name).map(|(_, e)| e.source.to_string()).unwrap_or_default();
    assert_eq!((config.num_partitions, source("num.partitions")), (3, "--set".into()));
    assert_eq!((config.log_retention_ms, source("log.retention.ms")), (Some(5), "c.toml:3".into()));
    assert_eq!((config.shards, source("shards")), (2, "--shards".into()));
    assert_eq!((config.node_id, source("node.id")), (1, "default".into()));
}

#[test]
fn bad_lines_are_refused_with_file_line_key_and_reason() {
    let text = "num.partitions = 0\nnum.partition = 1\nshards = \"two\"\nretention.ms = 1\n[log]\nsegment.bytes = 99999999999\ncleanup.policy = [\"delete\", \"burn\"]\n\"level\" = \"info\"\n[log.message]\ntimestamp.type = 5\n";
    assert_eq!(
        problems(|b| b.file("c.toml", text)),
        vec![
            "c.toml:1: num.partitions: Value must be at least 1, found 0",
            "c.toml:2: num.partition: unknown key; did you mean num.partitions?",
            "c.toml:3: shards: expected an integer, found a string",
            "c.toml:4: retention.ms: is a setting of topics; the broker's default for it is log.retention.ms",
            "c.toml:6: log.segment.bytes: Not a number of type INT, found 99999999999",
            "c.toml:7: log.cleanup.policy: String must be one of: compact, delete, found delete,burn",
            "c.toml:10: log.message.timestamp.type: expected a string, found an integer",
        ]
    );
    assert_eq!(
        problems(|b| b.file("c.toml", "num.partitions = 1\n\"num.partitions\" = 2\n")),
        vec!["c.toml:2: num.partitions: set twice, first on line 1"]
    );
    let syntax = problems(|b| b.file("c.toml", "\nnum.partitions = \n"));
    assert!(syntax.len() == 1 && syntax[0].starts_with("c.toml:2: "), "{syntax:?}");
}

#[test]
fn bad_pairs_and_flags_are_refused_by_name() {
    assert_eq!(problems(|b| b.set("num.partitions=x")), vec!["--set num.partitions: Not a number of type INT, found \"x\""]);
    assert_eq!(problems(|b| b.set("num.partitions")), vec!["--set: expected KEY=VALUE, found \"num.partitions\""]);
    assert_eq!(problems(|b| b.set("nope.nope.nope=1")), vec!["--set nope.nope.nope: unknown key; `coreline config --docs` lists all"]);
    assert_eq!(problems(|b| b.flag("--shards", "shards", "5000")), vec!["--shards: Value must be no more than 1024, found \"5000\""]);
}

#[test]
fn values_must_fit_together() {
    let all = problems(|b| {
        b.set("group.min.session.timeout.ms=2000000");
        b.set("listeners=0.0.0.0:9092");
        b.set("journal.max.bytes=67108864");
    });
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].starts_with("--set group.min.session.timeout.ms: must not exceed"), "{all:?}");
    assert!(all[1].contains("--advertise"), "{all:?}");
    assert!(
        problems(|b| {
            b.set("listeners=0.0.0.0:9092");
            b.set("advertised.listeners=broker.local:9092");
        })
        .is_empty()
    );
}

#[test]
fn the_advertised_port_follows_the_bound_one() {
    let bound: SocketAddr = "127.0.0.1:4321".parse().expect("an address");
    let config = Config::with(&["listeners=127.0.0.1:0"]).expect("valid");
    assert_eq!(config.advertised(bound).to_string(), "127.0.0.1:4321");
    let config = Config::with(&["advertised.listeners=PLAINTEXT://b.local:0"]).expect("valid");
    assert_eq!(config.advertised(bound).to_string(), "b.local:4321");
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Some(Path::new("/no/such/file.toml")), &[], &[]).map(|_| ()).map_err(|e| e.to_string());
    assert!(error.is_err_and(|e| e.starts_with("/no/such/file.toml: cannot be read: ")));
}
