//! Documents that repeat what the code says: the README's table of APIs and its test command, and `broker/CONFIG.md`.

use coreline_broker::config::print;
use coreline_wire::api;

use crate::source::root;

pub(crate) const RULE: &str = "What a document says twice is generated from the code. Run `CORELINE_UPDATE_DOCS=1 cargo test --test tidy`, read the \
difference, and commit it. Think: does the change belong into the notes of the next version?";

/// Checks all of them, or rewrites them when `CORELINE_UPDATE_DOCS` is set.
pub(crate) fn check() -> Vec<String> {
    let update = std::env::var_os("CORELINE_UPDATE_DOCS").is_some();
    let mut complaints = Vec::new();
    let mut document = |name: &str, make: &dyn Fn(&str) -> Result<String, String>| {
        let path = root().join(name);
        let present = std::fs::read_to_string(&path).unwrap_or_default();
        match make(&present) {
            Err(complaint) => complaints.push(format!("{name}: {complaint}")),
            Ok(wanted) if wanted == present => {}
            Ok(wanted) if update => std::fs::write(&path, wanted).expect("the document can be written"),
            Ok(wanted) => complaints.push(format!("{name}: {}", first_difference(&present, &wanted))),
        }
    };
    document("README.md", &|text| replaced(text, "api-table", &api_table()));
    document("broker/CONFIG.md", &|_| Ok(config_document()));
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap_or_default();
    complaints.extend(test_command(&read("README.md"), &read(".ci/run")));
    complaints
}

/// The table of served APIs.
fn api_table() -> String {
    let mut out = String::from("| key | API | versions |\n|---|---|---|\n");
    for spec in api::ALL {
        let served = if spec.min == spec.max { spec.min.to_string() } else { format!("{}-{}", spec.min, spec.max) };
        out.push_str(&format!("| {} | {} | {served} |\n", spec.key.code(), spec.name));
    }
    out
}

fn config_document() -> String {
    format!(
        "# Settings\n\nGenerated from the declarations in `src/config/broker_keys.rs` and `src/config/topic_keys.rs`; `coreline config --docs` prints it.\n\
         Precedence: default, then the file of `--config`, then `--set KEY=VALUE`, then the dedicated flags. `coreline config` shows what is in force and \
         where it came from.\n\n{}",
        print::docs()
    )
}

/// The text with the block between `<!-- NAME -->` and `<!-- /NAME -->` replaced.
fn replaced(text: &str, name: &str, block: &str) -> Result<String, String> {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let missing = || format!("has no block from {} to {close}", open.trim());
    let (before, rest) = text.split_once(&open).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&close).ok_or_else(missing)?;
    Ok(format!("{before}{open}{block}{close}{after}"))
}

/// `.ci/run` runs exactly the test command that the README gives first.
fn test_command(readme: &str, script: &str) -> Vec<String> {
    match readme.lines().map(str::trim).find(|line| line.starts_with("cargo test")) {
        None => vec!["README.md: gives no `cargo test` command on a line of its own".into()],
        Some(command) if script.lines().any(|line| line == command) => Vec::new(),
        Some(command) => vec![format!(".ci/run: does not run the README's test command `{command}` as a line of its own")],
    }
}

fn first_difference(present: &str, wanted: &str) -> String {
    let line = present.lines().zip(wanted.lines()).position(|(a, b)| a != b).unwrap_or(present.lines().count().min(wanted.lines().count()));
    let show = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_string();
    format!("line {}: has {:?}, the code says {:?}", line + 1, show(present), show(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_or_missing_block_is_found() {
        let text = "a\n<!-- t -->\nold\n<!-- /t -->\nb\n";
        assert_eq!(replaced(text, "t", "new\n").as_deref(), Ok("a\n<!-- t -->\nnew\n<!-- /t -->\nb\n"));
        assert!(replaced("a\n", "t", "new\n").is_err());
        assert!(first_difference("a\nb\n", "a\nc\n").contains("line 2"));
    }

    #[test]
    fn a_test_command_that_ci_does_not_run_is_found() {
        let readme = "x\n```sh\ncargo test --workspace\n```\ncargo test --test tidy\n";
        assert!(test_command(readme, "set -e\ncargo test --workspace\n").is_empty());
        assert_eq!(test_command(readme, "cargo test --workspace --quiet\n").len(), 1);
        assert_eq!(test_command("run the tests", "cargo test\n").len(), 1);
    }

    #[test]
    fn the_table_has_every_api() {
        assert_eq!(api_table().lines().count(), api::ALL.len() + 2);
    }
}
