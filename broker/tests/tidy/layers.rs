//! The layering tables of `architecture.md`: which crate may use which, which module of the broker may use which, which files do I/O.

use crate::source::Source;

pub(crate) const CRATE_RULE: &str = "Crates depend downwards: broker -> storage -> wire, broker -> wire, broker -> tuning (start-up check), \
bench-harness -> wire, bench-harness -> tuning (host facts). Think about the layering before you change this table: wire knows bytes and no I/O, \
storage knows disks and no sockets, the bench harness measures any Kafka-protocol server and so never sees the broker.";

/// Crate and what it may use.
const CRATE_TABLE: [(&str, &[&str]); 5] = [
    ("wire", &[]),
    ("storage", &["wire"]),
    ("broker", &["wire", "storage", "tuning"]),
    ("bench-harness", &["wire", "tuning"]),
    ("tuning", &[]),
];

fn allowed(krate: &str) -> &'static [&'static str] {
    CRATE_TABLE.iter().find(|(name, _)| *name == krate).map_or(&[], |(_, allowed)| allowed)
}

/// Checks the dependencies in the manifests.
pub(crate) fn manifests(manifests: &[(String, String)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (krate, text) in manifests {
        for line in text.lines() {
            let name = line.split(['=', '.', ' ']).next().unwrap_or("");
            let Some(used) = name.strip_prefix("coreline-").filter(|_| line.contains("workspace") || line.contains("path")) else {
                continue;
            };
            let used = if used == "bench" { "bench-harness" } else { used };
            if !allowed(krate).contains(&used) {
                complaints.push(format!("{krate}/Cargo.toml: must not depend on {used}"));
            }
        }
    }
    complaints
}

/// Checks the paths in a file.
pub(crate) fn crate_uses(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, text) in source.code_lines() {
        for (folder, name) in [
            ("wire", "coreline_wire"),
            ("storage", "coreline_storage"),
            ("broker", "coreline_broker"),
            ("tuning", "coreline_tuning"),
            ("bench-harness", "coreline_bench"),
        ] {
            // A crate's binary uses its own library.
            if folder != source.krate() && text.contains(&format!("{name}::")) && !allowed(source.krate()).contains(&folder) {
                complaints.push(format!("{}:{line}: uses {folder}", source.path));
            }
        }
    }
    complaints
}

pub(crate) const MODULE_RULE: &str = "Inside the broker arrows go down: start -> net -> dispatch -> handler -> {shard, partition, coordinator, \
controller} -> {purgatory, quorum, metadata, config} -> nouns; the command line for people is a top of its own: tool -> client. Think about the layering before you change this: can the thing that is used move \
down to the nouns, can the caller pass it in, or is the caller really part of the upper layer? An exception needs a line with its reason, and goes \
when nothing needs it any more.";

/// Layers from the top; a file belongs to the longest prefix that fits it. A file may use its own layer and those below.
const LAYERS: [&[&str]; 8] = [
    &["main", "cli", "log_tool", "logging", "admin", "preflight", "shutdown", "shard/start", "tool"],
    &["client"],
    &["net"],
    &["dispatch"],
    &["handler"],
    &["shard", "partition", "coordinator", "controller", "fetch_session"],
    &["purgatory", "quorum", "quota", "telemetry", "metadata", "config"],
    &["error", "limits", "log_level", "metrics", "stage", "sys"],
];

/// File (or folder), module above it that it uses, and why that is right.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("error", "partition", "every part's errors become Kafka's codes in one place"),
    ("error", "shard", "every part's errors become Kafka's codes in one place"),
    ("partition/", "handler", "Chunk and FileSpan, the parts of an answer, are declared beside Response"),
    ("shard/blocking", "handler", "Chunk and FileSpan, the parts of an answer, are declared beside Response"),
    ("shard/offsets_log", "handler", "Chunk and FileSpan, the parts of an answer, are declared beside Response"),
    ("shard/mod", "handler", "the shard keeps the block of ids that InitProducerId hands out"),
    ("shard/mod", "net", "the shard owns the connections it accepted"),
    ("dispatch", "net", "an answer is encoded into what the pipeline sends"),
    ("quorum/", "controller", "the metadata log's entries are the controller's records, applied by its replay"),
];

fn layer_of(path: &str) -> Option<usize> {
    let depth = |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(['/', '.']));
    let fits = LAYERS.iter().enumerate().flat_map(|(i, layer)| layer.iter().map(move |prefix| (i, *prefix)));
    fits.filter(|(_, prefix)| depth(prefix)).max_by_key(|(_, prefix)| prefix.len()).map(|(i, _)| i)
}

/// Checks every use of one broker module by another.
pub(crate) fn modules(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut needed = vec![false; EXCEPTIONS.len()];
    for source in sources {
        let Some(file) = source.path.strip_prefix("broker/src/").filter(|f| *f != "lib.rs") else { continue };
        let Some(from) = layer_of(file.trim_end_matches(".rs")) else {
            complaints.push(format!("{}: belongs to no layer; add it to the table", source.path));
            continue;
        };
        for (line, module) in module_uses(source) {
            if layer_of(&module).is_none_or(|to| to >= from) {
                continue;
            }
            match EXCEPTIONS.iter().position(|(f, m, _)| file.starts_with(f) && *m == module) {
                Some(i) => needed[i] = true,
                None => complaints.push(format!("{}:{line}: uses {module}, which lies above it", source.path)),
            }
        }
    }
    for (exception, _) in EXCEPTIONS.iter().zip(&needed).filter(|(_, needed)| !**needed) {
        complaints.push(format!("the exception {} -> {} is not needed any more; remove it", exception.0, exception.1));
    }
    complaints
}

/// Names after `crate::`, also inside `use crate::{a, b::c};` on one or many lines.
fn module_uses(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let lines: Vec<(usize, &str)> = source.code_lines().collect();
    for (i, (number, text)) in lines.iter().enumerate() {
        for rest in text.split("crate::").skip(1) {
            if let Some(group) = rest.strip_prefix('{') {
                let mut all = group.to_string();
                for (_, next) in lines[i + 1..].iter().take_while(|_| !group.contains("};")) {
                    all.push_str(next);
                    if next.contains("};") {
                        break;
                    }
                }
                let mut depth = 0;
                let top = all.chars().take_while(|c| *c != ';').filter(|c| {
                    depth += i32::from(*c == '{') - i32::from(*c == '}');
                    depth == 0
                });
                let top: String = top.collect();
                found.extend(top.split(',').map(|item| (*number, first_word(item.trim()))));
            } else {
                let word = first_word(rest);
                // `shard/start` is a layer of its own inside `shard`.
                let path = if rest.starts_with("shard::start") { "shard/start".to_string() } else { word };
                found.push((*number, path));
            }
        }
    }
    found.retain(|(_, word)| word.starts_with(|c: char| c.is_ascii_lowercase()));
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

pub(crate) const IO_RULE: &str = "Only shells name glommio or touch sockets and files; everything else is sans-I/O and takes now, randomness and \
bytes as arguments. Think: can the decision be separated from the doing, so that only the doing stays here? If this really is a new shell, add it \
to the list.";

/// Files and folders that may name glommio.
const GLOMMIO_HOMES: &[&str] = &[
    "storage/src/io/",
    "broker/src/net/",
    "broker/src/shard/",
    "broker/src/admin.rs",
    "broker/src/quorum/",
    "broker/src/shutdown.rs",
    "broker/src/main.rs",
];

/// Checks who does I/O.
pub(crate) fn io_homes(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, text) in source.code_lines() {
        if text.contains("glommio::") && !GLOMMIO_HOMES.iter().any(|home| source.path.starts_with(home)) {
            complaints.push(format!("{}:{line}: names glommio", source.path));
        }
        if source.krate() == "wire" && ["std::fs", "std::net", "SystemTime", "Instant::now", "async fn"].iter().any(|t| text.contains(t)) {
            complaints.push(format!("{}:{line}: wire does no I/O, reads no clock and never waits", source.path));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_crate_dependency_is_found() {
        let manifest = |krate: &str, text: &str| manifests(&[(krate.to_string(), text.to_string())]);
        assert_eq!(
            manifest("storage", "[package]\nname = \"coreline-storage\"\n[dependencies]\ncoreline-wire.workspace = true\n"),
            Vec::<String>::new()
        );
        assert_eq!(manifest("wire", "coreline-storage.workspace = true\n").len(), 1);
        assert_eq!(manifest("bench-harness", "coreline-broker = { path = \"../broker\" }\n").len(), 1);
        assert_eq!(crate_uses(&Source::new("tuning/src/a.rs", "use coreline_wire::api;\n")).len(), 1);
        assert!(crate_uses(&Source::new("broker/src/a.rs", "use coreline_wire::api;\n")).is_empty());
    }

    #[test]
    fn an_arrow_that_goes_up_is_found_in_every_spelling() {
        let up = |path: &str, text: &str| modules(&[Source::new(path, text)]).into_iter().filter(|c| c.starts_with(path)).count();
        assert_eq!(up("broker/src/partition/append.rs", "use crate::net::send;\n"), 1);
        assert_eq!(up("broker/src/partition/append.rs", "let x = crate::dispatch::y();\n"), 1);
        assert_eq!(up("broker/src/metadata/image.rs", "use crate::{\n    stage::Stage,\n    dispatch::{a, b},\n};\n"), 1);
        assert_eq!(up("broker/src/handler/fetch.rs", "use crate::partition::x;\nuse crate::metadata::y;\n"), 0);
        assert_eq!(up("broker/src/handler/fetch.rs", "use crate::shard::start::run;\n"), 1);
        assert_eq!(up("broker/src/partition/append.rs", "#[cfg(test)]\nuse a;\n// crate::net is above\n"), 0);
        assert_eq!(up("broker/src/brand_new.rs", ""), 1, "a module without a layer is found");
    }

    #[test]
    fn io_outside_the_shells_is_found() {
        assert_eq!(io_homes(&Source::new("broker/src/partition/append.rs", "use glommio::timer::sleep;\n")).len(), 1);
        assert!(io_homes(&Source::new("broker/src/net/accept.rs", "use glommio::net;\n")).is_empty());
        assert_eq!(io_homes(&Source::new("wire/src/frame.rs", "let t = std::time::Instant::now();\n")).len(), 1);
    }
}
