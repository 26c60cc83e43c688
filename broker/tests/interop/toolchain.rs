//! Fetches and builds the client programs of `broker/tests/clients/` into `target/interop-clients/NAME`, again only when an input changes.
//!
//! A missing toolchain is a printed skip, and a failure where `CI=true`. Everything is fetched by the toolchain's own client from
//! the registry it is configured for, at the versions of the committed lock files.

use crate::harness::locked;
use crate::probe::{available, missing};
use crate::process;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

const BUILD_WITHIN: Duration = Duration::from_secs(15 * 60);

/// How to build and run one client program. Commands run in a copy of its folder below `target/`.
pub(crate) struct Recipe {
    /// Folder below `broker/tests/clients/`.
    pub(crate) folder: &'static str,
    /// Commands that must exist for the client to be possible at all; each answers to the arguments given.
    pub(crate) needs: &'static [&'static [&'static str]],
    pub(crate) build: &'static [&'static [&'static str]],
    /// The program and its first arguments; `./` is the build folder.
    pub(crate) run: &'static [&'static str],
}

/// The command that runs the program, or None (printed) when its toolchain is missing and that is allowed.
pub(crate) fn prepare(recipe: &'static Recipe) -> Option<Vec<String>> {
    type Built = BTreeMap<&'static str, &'static OnceLock<Option<Vec<String>>>>;
    static BUILT: Mutex<Built> = Mutex::new(BTreeMap::new());
    let once = *BUILT.lock().expect("no builder panics with the lock").entry(recipe.folder).or_insert_with(|| Box::leak(Box::default()));
    once.get_or_init(|| {
        for need in recipe.needs {
            if let Err(reason) = available(need) {
                missing(recipe.folder, &reason);
                return None;
            }
        }
        match build(recipe) {
            Ok(command) => Some(command),
            Err(reason) => panic!("building the client program {}: {reason}", recipe.folder),
        }
    })
    .clone()
}

fn build(recipe: &Recipe) -> Result<Vec<String>, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(recipe.folder);
    let folder = clients_folder().join(recipe.folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let _lock = locked(&clients_folder().join(format!("{}.lock", recipe.folder)))?;
    let inputs = inputs(&source)?;
    let stamp = folder.join("built-from");
    let wanted = fingerprint(&inputs, recipe, &folder);
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
        let start = Instant::now();
        let _ = fs::remove_file(&stamp);
        for (name, bytes) in &inputs {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().expect("joined to a folder")).map_err(|error| error.to_string())?;
            fs::write(&file, bytes).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        for step in recipe.build {
            run_step(step, &folder)?;
        }
        fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
        let _ = writeln!(std::io::stderr(), "interop: built {} in {:.0} s", recipe.folder, start.elapsed().as_secs_f32());
    }
    Ok(recipe.run.iter().map(|word| word.replace("./", &format!("{}/", folder.display()))).collect())
}

fn run_step(step: &[&str], folder: &Path) -> Result<(), String> {
    let mut command = Command::new(if step[0] == "cargo" { env!("CARGO") } else { step[0] });
    command.args(&step[1..]).current_dir(folder);
    // What the outer cargo set for this test would steer an inner cargo.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_BIN_")
            || matches!(&*name, "CARGO_TARGET_DIR" | "CARGO_MANIFEST_DIR" | "CARGO_BUILD_TARGET_DIR")
        {
            command.env_remove(&*name);
        }
    }
    let output = process::run(&mut command, BUILD_WITHIN)?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "`{}` in {} ended with {}\n{}\n{}",
        step.join(" "),
        folder.display(),
        output.status,
        process::tail(&output.stdout),
        process::tail(&output.stderr)
    ))
}

fn clients_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("cargo keeps it inside the target folder").join("interop-clients")
}

fn inputs(source: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
            let path = entry.map_err(|error| error.to_string())?.path();
            let leftover = ["target", "node_modules", "__pycache__"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && !leftover {
                folders.push(path);
            } else if path.is_file() {
                let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                files.insert(path.strip_prefix(source).expect("found below it").to_owned(), bytes);
            }
        }
    }
    Ok(files)
}

/// FNV-1a over the inputs and the recipe: a change detector, not a seal.
fn fingerprint(inputs: &BTreeMap<PathBuf, Vec<u8>>, recipe: &Recipe, folder: &Path) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    add(format!("{:?} {}", recipe.build, folder.display()).as_bytes());
    for (name, bytes) in inputs {
        add(name.as_os_str().as_encoded_bytes());
        add(bytes);
    }
    format!("{hash:016x}\n")
}
