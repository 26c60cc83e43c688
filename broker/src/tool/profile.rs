//! Profiles: named clusters in `$XDG_CONFIG_HOME/coreline/profiles.toml` (else `~/.config/...`), and `coreline profile create|list|use|delete`.
//!
//! ```toml
//! current = "local"
//! [profile.local]
//! brokers = "localhost:9092"
//! timeout = "10s"
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::moment::parse_duration;
use super::out::{Colour, Out, Row, or_dash};
use crate::client::address;

/// Keys of security settings, which are not there yet.
const NOT_YET: [&str; 7] = ["tls", "sasl", "security", "user", "password", "mechanism", "ssl"];

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Addresses, with commas.
    pub(crate) brokers: String,
    /// Longest time for one operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default, rename = "profile")]
    profiles: BTreeMap<String, Profile>,
}

/// What to do with profiles.
#[derive(Args, Debug)]
pub struct ProfileArgs {
    #[command(subcommand)]
    command: ProfileCommand,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum ProfileCommand {
    /// Store a cluster under a name; the first one becomes the current one.
    Create {
        /// Its name.
        name: String,
        /// Its brokers.
        #[arg(short = 'b', long, value_name = "HOST:PORT,...")]
        brokers: String,
        /// Longest time for one operation.
        #[arg(long, value_name = "DURATION")]
        timeout: Option<String>,
        /// Replace one of the same name.
        #[arg(long)]
        force: bool,
    },
    /// List the profiles.
    List,
    /// Make a profile the current one.
    Use {
        /// Its name.
        name: String,
    },
    /// Delete a profile.
    Delete {
        /// Its name.
        name: String,
    },
}

#[derive(Serialize)]
struct ProfileRow {
    name: String,
    current: bool,
    brokers: String,
    timeout: Option<String>,
}

impl Row for ProfileRow {
    const HEAD: &'static [&'static str] = &["NAME", "CURRENT", "BROKERS", "TIMEOUT"];
    fn cells(&self) -> Vec<String> {
        let current = if self.current { "*" } else { "" };
        vec![self.name.clone(), current.into(), self.brokers.clone(), or_dash(self.timeout.as_ref())]
    }
}

/// The profile of this name, or the current one; `None` when there is no current one.
pub(crate) fn load(name: Option<&str>) -> Result<Option<Profile>, Failure> {
    let Some(path) = path() else { return Ok(None) };
    let file = read(&path)?;
    match name.or(file.current.as_deref()) {
        None => Ok(None),
        Some(name) => file.profiles.get(name).cloned().map(Some).ok_or_else(|| no_profile(name)),
    }
}

fn no_profile(name: &str) -> Failure {
    Failure::Usage(format!("there is no profile '{name}'; create it with `coreline profile create {name} --brokers HOST:PORT`"))
}

/// Runs a command.
pub(crate) fn run(args: &ProfileArgs) -> Result<(), Failure> {
    let path = path().ok_or_else(|| Failure::Usage("neither XDG_CONFIG_HOME nor HOME is set; profiles have no place".into()))?;
    let mut file = read(&path)?;
    let mut out = Out::stdout(args.json, Colour::Auto);
    match &args.command {
        ProfileCommand::Create { name, brokers, timeout, force } => {
            create(&mut file, name, brokers, timeout.as_deref(), *force)?;
            write(&path, &file)?;
        }
        ProfileCommand::List => {
            let row = |(name, p): (&String, &Profile)| ProfileRow {
                name: name.clone(),
                current: file.current.as_ref() == Some(name),
                brokers: p.brokers.clone(),
                timeout: p.timeout.clone(),
            };
            let rows: Vec<ProfileRow> = file.profiles.iter().map(row).collect();
            out.rows(&rows)?;
        }
        ProfileCommand::Use { name } => {
            if !file.profiles.contains_key(name) {
                return Err(no_profile(name));
            }
            file.current = Some(name.clone());
            write(&path, &file)?;
        }
        ProfileCommand::Delete { name } => {
            file.profiles.remove(name).ok_or_else(|| no_profile(name))?;
            file.current = file.current.filter(|current| current != name);
            write(&path, &file)?;
        }
    }
    out.flush()
}

fn create(file: &mut File, name: &str, brokers: &str, timeout: Option<&str>, force: bool) -> Result<(), Failure> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        return Err(Failure::Usage(format!("'{name}' is no name for a profile; use letters, digits, '.', '_' and '-'")));
    }
    if file.profiles.contains_key(name) && !force {
        return Err(Failure::Usage(format!("profile '{name}' exists; replace it with --force")));
    }
    address::parse_list(brokers).map_err(Failure::Usage)?;
    timeout.map(parse_duration).transpose().map_err(Failure::Usage)?;
    file.profiles.insert(name.to_string(), Profile { brokers: brokers.to_string(), timeout: timeout.map(str::to_string) });
    file.current.get_or_insert_with(|| name.to_string());
    Ok(())
}

fn path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // A relative path is to be ignored, says the XDG specification.
    let base = set("XDG_CONFIG_HOME").filter(|p| p.is_absolute()).or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(base.join("coreline").join("profiles.toml"))
}

fn read(path: &PathBuf) -> Result<File, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).map_err(|why| Failure::Usage(format!("{}: {why}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(File::default()),
        Err(error) => Err(Failure::Usage(format!("{}: {error}", path.display()))),
    }
}

fn parse(text: &str) -> Result<File, String> {
    let table: toml::Table = toml::from_str(text).map_err(|e| e.message().to_string())?;
    let profiles = table.get("profile").and_then(|p| p.as_table());
    for (name, profile) in profiles.into_iter().flatten() {
        let keys = profile.as_table().into_iter().flatten().map(|(key, _)| key);
        if let Some(key) = keys.into_iter().find(|key| NOT_YET.iter().any(|n| key.starts_with(n))) {
            return Err(format!("profile '{name}': {key}: TLS and SASL are not supported yet; use a PLAINTEXT listener"));
        }
    }
    table.try_into().map_err(|e: toml::de::Error| e.message().to_string())
}

/// Replaces the file as a whole.
fn write(path: &PathBuf, file: &File) -> Result<(), Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Failure::Failed(format!("{what} {}: {error}", path.display()));
    let text = toml::to_string(file).map_err(|e| failed("writing", &e))?;
    let new = path.with_extension("toml.new");
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder.map_err(|e| failed("making the folder of", &e))?;
    let mut handle = std::fs::File::create(&new).map_err(|e| failed("writing", &e))?;
    handle.write_all(text.as_bytes()).and_then(|()| handle.sync_all()).map_err(|e| failed("writing", &e))?;
    std::fs::rename(&new, path).map_err(|e| failed("replacing", &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_reads_back() {
        let mut file = File::default();
        create(&mut file, "local", "localhost:9092", Some("10s"), false).expect("valid");
        create(&mut file, "other", "a:1,b:2", None, false).expect("valid");
        assert_eq!(file.current.as_deref(), Some("local"), "the first one is the current one");
        assert_eq!(parse(&toml::to_string(&file).expect("TOML")), Ok(file));
    }

    #[test]
    fn mistakes_are_refused() {
        let mut file = File::default();
        create(&mut file, "a", "h", None, false).expect("valid");
        assert!(create(&mut file, "a", "h", None, false).is_err_and(|e| e.sentence().is_some_and(|s| s.contains("--force"))));
        assert!(create(&mut file, "a", "h", None, true).is_ok());
        assert!(create(&mut file, "b c", "h", None, false).is_err());
        assert!(create(&mut file, "b", "h:x", None, false).is_err());
        assert!(create(&mut file, "b", "h", Some("soon"), false).is_err());
        assert!(parse("[profile.a]\nbrokers = \"h\"\ntls = true\n").is_err_and(|e| e.contains("TLS and SASL are not supported yet")));
        assert!(parse("[profile.a]\nbroker = \"h\"\n").is_err_and(|e| e.contains("broker")));
        assert!(parse("current = ").is_err());
    }
}
