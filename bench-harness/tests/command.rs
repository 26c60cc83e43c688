//! The command line as a user types it.

use std::process::Command;

#[test]
fn host_prints_the_facts_of_this_host() {
    let out = Command::new(env!("CARGO_BIN_EXE_coreline-bench")).arg("host").output().expect("the binary runs");
    assert!(out.status.success());
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert!(json["kernel_release"].is_string(), "{json}");
}
