//! Reading what `--target`, `--a` and `--b` say. Pure; the grammar is in `mod.rs`.

use std::fmt;
use std::path::PathBuf;

/// A server, as it was named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Coreline.
    Coreline {
        /// The executable; `None` is the one beside this program.
        path: Option<PathBuf>,
        /// For `--set`.
        settings: Vec<(String, String)>,
    },
    /// Apache Kafka.
    Kafka {
        /// Directory of its jars; `None` fetches them.
        libs: Option<PathBuf>,
        /// Lines of `server.properties`.
        settings: Vec<(String, String)>,
        /// `-Xms` and `-Xmx`.
        heap: String,
        /// Flushes every append.
        durable: bool,
    },
    /// A command that starts a server.
    Command {
        /// For `/bin/sh -c`, with `{port}` and `{dir}` in it.
        command: String,
        /// Where it listens; `None` when it takes `{port}`.
        address: Option<String>,
    },
    /// A server that runs already, `HOST:PORT`.
    Address(String),
}

/// Why a text names no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("target {text:?}: {what}")]
pub struct SpecError {
    text: String,
    what: String,
}

const FORMS: &str = "a target is coreline[:PATH], kafka[:DIR], cmd:COMMAND or HOST:PORT";

impl Spec {
    /// Reads a target.
    pub fn parse(text: &str) -> Result<Spec, SpecError> {
        let fail = |what: String| SpecError { text: text.to_string(), what };
        if let Some(command) = text.strip_prefix("cmd:") {
            return command_of(command, None).map_err(fail);
        }
        if let Some(rest) = text.strip_prefix("cmd@") {
            let mut parts = rest.splitn(3, ':');
            let (Some(host), Some(port), Some(command)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(fail("expected cmd@HOST:PORT:COMMAND".into()));
            };
            return command_of(command, Some(address(&format!("{host}:{port}")).map_err(fail)?)).map_err(fail);
        }
        let (head, options) = text.split_once(',').map_or((text, None), |(head, options)| (head, Some(options)));
        let (kind, path) = head.split_once(':').map_or((head, None), |(kind, path)| (kind, Some(PathBuf::from(path))));
        if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) && (kind == "coreline" || kind == "kafka") {
            return Err(fail(format!("nothing after `{kind}:`")));
        }
        let options = options.map_or(Ok(Vec::new()), pairs).map_err(fail)?;
        match kind {
            "coreline" => match options.iter().find(|(_, value)| value.is_none()) {
                Some((name, _)) => Err(fail(format!("`{name}` is no setting; settings are KEY=VALUE"))),
                None => Ok(Spec::Coreline { path, settings: with_values(options) }),
            },
            "kafka" => kafka(path, options).map_err(fail),
            _ if options.is_empty() => address(text).map(Spec::Address).map_err(fail),
            _ => Err(fail(format!("only coreline and kafka take settings; {FORMS}"))),
        }
    }
}

type Options = Vec<(String, Option<String>)>;

fn pairs(text: &str) -> Result<Options, String> {
    let pair = |item: &str| match item.split_once('=') {
        _ if item.is_empty() => Err("an empty setting".to_string()),
        Some(("", _)) => Err(format!("`{item}`: no key before `=`")),
        Some((key, value)) => Ok((key.trim().to_string(), Some(value.trim().to_string()))),
        None => Ok((item.trim().to_string(), None)),
    };
    text.split(',').map(pair).collect()
}

fn with_values(options: Options) -> Vec<(String, String)> {
    options.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn kafka(libs: Option<PathBuf>, options: Options) -> Result<Spec, String> {
    let (mut heap, mut durable, mut settings) = ("1g".to_string(), false, Vec::new());
    for (key, value) in options {
        match (key.as_str(), value) {
            ("durable", None) => durable = true,
            ("heap", Some(value)) => {
                let digits = value.trim_end_matches(['m', 'g']);
                if digits.is_empty() || value.len() != digits.len() + 1 || !digits.chars().all(|c| c.is_ascii_digit()) {
                    return Err(format!("heap={value}: a heap is a number followed by m or g"));
                }
                heap = value;
            }
            (_, Some(value)) => settings.push((key, value)),
            (_, None) => return Err(format!("`{key}` is no option; there are durable, heap=SIZE and settings KEY=VALUE")),
        }
    }
    Ok(Spec::Kafka { libs, settings, heap, durable })
}

fn command_of(command: &str, address: Option<String>) -> Result<Spec, String> {
    if command.trim().is_empty() {
        return Err("no command".into());
    }
    if address.is_none() && !command.contains("{port}") {
        return Err("the command has no {port}; write it where the server takes its port, or use cmd@HOST:PORT:COMMAND".into());
    }
    Ok(Spec::Command { command: command.to_string(), address })
}

fn address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| FORMS.to_string())?;
    match port.parse::<u16>() {
        _ if host.is_empty() => Err(format!("no host before `:{port}`")),
        Err(_) | Ok(0) => Err(format!("`{port}` is no port; {FORMS}")),
        Ok(_) => Ok(text.to_string()),
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, settings): (String, Vec<String>) = match self {
            Spec::Coreline { settings, .. } => ("coreline".into(), settings.iter().map(|(k, v)| format!("{k}={v}")).collect()),
            Spec::Kafka { settings, heap, durable, .. } => {
                let mut all: Vec<String> = Vec::new();
                all.extend(durable.then(|| "durable".to_string()));
                all.extend((heap != "1g").then(|| format!("heap={heap}")));
                all.extend(settings.iter().map(|(k, v)| format!("{k}={v}")));
                ("kafka".into(), all)
            }
            Spec::Command { command, .. } => (format!("cmd:{}", command.chars().take(40).collect::<String>()), Vec::new()),
            Spec::Address(address) => (address.clone(), Vec::new()),
        };
        f.write_str(&head)?;
        settings.iter().try_for_each(|setting| write!(f, ",{setting}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Spec {
        Spec::parse(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(parse("coreline"), Spec::Coreline { path: None, settings: vec![] });
        assert_eq!(
            parse("coreline:/opt/coreline,shards=1,num.partitions=4"),
            Spec::Coreline {
                path: Some("/opt/coreline".into()),
                settings: vec![("shards".into(), "1".into()), ("num.partitions".into(), "4".into())]
            }
        );
        assert_eq!(parse("kafka"), Spec::Kafka { libs: None, settings: vec![], heap: "1g".into(), durable: false });
        assert_eq!(
            parse("kafka:/jars,durable,heap=512m,num.io.threads=2"),
            Spec::Kafka {
                libs: Some("/jars".into()),
                settings: vec![("num.io.threads".into(), "2".into())],
                heap: "512m".into(),
                durable: true
            }
        );
        assert_eq!(
            parse("cmd:server --port {port} --data {dir}, --x=1"),
            Spec::Command { command: "server --port {port} --data {dir}, --x=1".into(), address: None }
        );
        assert_eq!(
            parse("cmd@127.0.0.1:9092:exec server"),
            Spec::Command { command: "exec server".into(), address: Some("127.0.0.1:9092".into()) }
        );
        assert_eq!(parse("broker-1.example.com:9092"), Spec::Address("broker-1.example.com:9092".into()));
        assert_eq!(parse("[::1]:9092"), Spec::Address("[::1]:9092".into()));
    }

    #[test]
    fn a_name_says_what_was_set() {
        for text in ["coreline,shards=1", "kafka,durable,heap=2g,num.io.threads=2", "kafka", "127.0.0.1:9092"] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("coreline:/opt/coreline").to_string(), "coreline", "paths of this machine stay out of reports");
    }

    #[test]
    fn what_names_no_server_is_refused_with_the_reason() {
        for (text, words) in [
            ("", "a target is"),
            ("redpanda", "a target is"),
            ("coreline:", "nothing after"),
            ("coreline,shards", "no setting"),
            ("coreline,", "empty setting"),
            ("coreline,=1", "no key"),
            ("kafka,fast", "no option"),
            ("kafka,heap=lots", "number followed by"),
            ("host:port", "no port"),
            ("host:0", "no port"),
            ("host:99999", "no port"),
            (":9092", "no host"),
            ("host:9092,x=1", "only coreline and kafka"),
            ("cmd:", "no command"),
            ("cmd:server", "has no {port}"),
            ("cmd@host:server", "expected cmd@"),
            ("cmd@host:x:server", "no port"),
        ] {
            let error = Spec::parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
