//! Which cluster to speak to and how to print: the options that every command has, the profile and the environment, resolved in that order.

use std::time::Duration;

use clap::Args;

use super::failure::Failure;
use super::moment::parse_duration;
use super::out::{Colour, Out};
use super::profile::{self, Profile};
use crate::client::{Cluster, Settings, Stop, address};

/// These options stand together, behind a command's own.
const HEADING: &str = "Cluster and output";

/// The cluster and the output.
#[derive(Args, Clone, Debug, Default)]
pub struct Remote {
    /// Brokers to begin with [default: the profile's, else $CORELINE_BROKERS, else localhost:9092].
    #[arg(short = 'b', long, value_name = "HOST:PORT,...", global = true, help_heading = HEADING)]
    brokers: Option<String>,
    /// Profile to use [default: $CORELINE_PROFILE, else the current one].
    #[arg(long, value_name = "NAME", global = true, help_heading = HEADING)]
    profile: Option<String>,
    /// Longest time for one operation, retries included [default: 30s].
    #[arg(long, value_name = "DURATION", global = true, help_heading = HEADING)]
    timeout: Option<String>,
    /// Print JSON.
    #[arg(long, global = true, help_heading = HEADING)]
    json: bool,
    /// When to use colours.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", global = true, help_heading = HEADING)]
    color: Colour,
    /// Not supported yet.
    #[arg(long, global = true, hide = true)]
    tls: bool,
}

/// A command on its way: the cluster it speaks to and where it prints.
pub(crate) struct Session {
    pub(crate) cluster: Cluster,
    pub(crate) out: Out,
    /// Raised by Ctrl-C, where a command has asked for it.
    pub(crate) stop: Stop,
}

/// What the environment says.
#[derive(Clone, Debug, Default)]
struct Environment {
    brokers: Option<String>,
    profile: Option<String>,
}

impl Remote {
    /// Where to print.
    pub(crate) fn out(&self) -> Out {
        Out::stdout(self.json, self.color)
    }

    /// Connects.
    pub(crate) fn open(&self) -> Result<Session, Failure> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let environment = Environment { brokers: set("CORELINE_BROKERS"), profile: set("CORELINE_PROFILE") };
        let settings = self.settings(&environment, profile::load)?;
        let stop = settings.stop.clone();
        Ok(Session { cluster: Cluster::connect(settings)?, out: self.out(), stop })
    }

    /// What holds: an option before a named profile before the environment before the current profile before the default.
    fn settings(
        &self,
        environment: &Environment,
        load: impl FnOnce(Option<&str>) -> Result<Option<Profile>, Failure>,
    ) -> Result<Settings, Failure> {
        if self.tls {
            return Err(Failure::Usage("TLS is not supported yet; use a PLAINTEXT listener".into()));
        }
        let named = self.profile.as_deref().or(environment.profile.as_deref());
        let profile = load(named)?;
        let of_profile = profile.as_ref().map(|p| p.brokers.clone());
        let of_profile_named = of_profile.clone().filter(|_| self.profile.is_some());
        let brokers = self.brokers.clone().or(of_profile_named).or_else(|| environment.brokers.clone()).or(of_profile);
        let brokers = address::parse_list(brokers.as_deref().unwrap_or("localhost:9092")).map_err(Failure::Usage)?;
        let timeout = self.timeout.clone().or_else(|| profile.and_then(|p| p.timeout));
        let timeout = timeout.map_or(Ok(Duration::from_secs(30)), |text| parse_duration(&text)).map_err(Failure::Usage)?;
        if timeout < Duration::from_millis(1) {
            return Err(Failure::Usage("a --timeout is above zero".into()));
        }
        Ok(Settings { brokers, client_id: "coreline".into(), timeout, stop: Stop::default() })
    }
}

impl Session {
    /// From now on the first Ctrl-C (or SIGTERM) raises `stop`; the second ends the program on the spot.
    pub(crate) fn catch_interrupts(&self) -> Result<(), Failure> {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let armed = signal_hook::flag::register_conditional_shutdown(signal, 130, self.stop.flag());
            let set = armed.and_then(|_| signal_hook::flag::register(signal, self.stop.flag()));
            set.map_err(|error| Failure::Failed(format!("setting up Ctrl-C: {error}")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(flag: Option<&str>, named: Option<&str>, env: Option<&str>, stored: Option<&str>) -> String {
        let remote = Remote { brokers: flag.map(String::from), profile: named.map(String::from), ..Default::default() };
        let environment = Environment { brokers: env.map(String::from), profile: None };
        let load = |_: Option<&str>| Ok(stored.map(|b| Profile { brokers: b.into(), timeout: Some("7s".into()) }));
        remote.settings(&environment, load).expect("valid").brokers.join(",")
    }

    #[test]
    fn what_is_nearer_goes_first() {
        assert_eq!(brokers(Some("a:1"), Some("p"), Some("e:3"), Some("s:4")), "a:1");
        assert_eq!(brokers(None, Some("p"), Some("e:3"), Some("s:4")), "s:4", "a profile that was asked for");
        assert_eq!(brokers(None, None, Some("e:3"), Some("s:4")), "e:3");
        assert_eq!(brokers(None, None, None, Some("s:4")), "s:4");
        assert_eq!(brokers(None, None, None, None), "localhost:9092");
    }

    #[test]
    fn what_is_not_there_yet_is_said_clearly() {
        let remote = Remote { tls: true, ..Default::default() };
        let refused = remote.settings(&Environment::default(), |_| Ok(None)).expect_err("no TLS");
        assert_eq!(refused, Failure::Usage("TLS is not supported yet; use a PLAINTEXT listener".into()));
    }
}
