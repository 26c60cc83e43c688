//! The command line as a user types it: on this host and on a recorded tree.

use std::process::Command;

fn tune(args: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_coreline-tune")).args(args).output().expect("the binary runs");
    let text = |b: Vec<u8>| String::from_utf8(b).expect("UTF-8");
    (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
}

#[test]
fn check_reads_this_host() {
    let (code, out, _) = tune(&["check", "--json"]);
    assert!(code == 0 || code == 1, "exit code {code}");
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(json["facts"]["kernel_release"].is_string(), "{json}");
    assert!(json["findings"].as_array().is_some_and(|f| f.len() >= 10), "{json}");
}

#[test]
fn a_tree_with_io_uring_disabled_is_fatal_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::create_dir_all(dir.path().join("proc/sys/kernel")).expect("create");
    std::fs::write(dir.path().join("proc/sys/kernel/io_uring_disabled"), "2\n").expect("write");
    let (code, out, _) = tune(&["check", "--root", &dir.path().to_string_lossy()]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("FATAL   io_uring") && out.contains("kernel.io_uring_disabled=0"), "{out}");
}

#[test]
fn a_root_that_is_not_there_is_an_error_that_names_it() {
    let (code, _, err) = tune(&["check", "--root", "/no/such/tree"]);
    assert_eq!((code, err.contains("/no/such/tree")), (2, true), "{err}");
}
