//! What can go wrong with a run as a whole, and the exit code that goes with it.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done, and the result is valid |
//! | 1 | measured, but the result is invalid or an objective was missed |
//! | 2 | wrong command line, scenario file or objective; nothing was measured |
//! | 3 | the target could not be reached, started or kept alive, or refused the set-up |
//! | 130 | interrupted; what was measured is written, marked so |

use std::io;

/// Exit code of a run that was measured and is valid.
pub const EXIT_OK: u8 = 0;
/// Exit code of an invalid result or a missed objective.
pub const EXIT_INVALID: u8 = 1;
/// Exit code of a wrong command line, scenario or objective.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of a target that cannot be reached, started or kept.
pub const EXIT_TARGET: u8 = 3;
/// Exit code of an interrupted run.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why a command ended without a result. [`BenchError::Interrupted`] never reaches a user: the commands make a result of it that is marked so.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The scenario, an override or another input is wrong; the text names file, line and reason.
    #[error("{0}")]
    Config(String),
    /// The target could not be reached, started or stopped, or refused what the scenario needs.
    #[error("target {target}: {reason}")]
    Target {
        /// Address or name of the target.
        target: String,
        /// What happened.
        reason: String,
    },
    /// This host refused something the harness needs: a file descriptor, a thread, an output file.
    #[error("{what}: {source}")]
    Host {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// Ctrl-C or SIGTERM came before there was anything measured.
    #[error("interrupted")]
    Interrupted,
}

impl BenchError {
    /// A target's error.
    pub fn target(target: impl Into<String>, reason: impl Into<String>) -> BenchError {
        BenchError::Target { target: target.into(), reason: reason.into() }
    }

    /// An error of this host.
    pub fn host(what: impl Into<String>, source: io::Error) -> BenchError {
        BenchError::Host { what: what.into(), source }
    }

    /// The exit code that goes with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            BenchError::Config(_) => EXIT_USAGE,
            BenchError::Target { .. } | BenchError::Host { .. } => EXIT_TARGET,
            BenchError::Interrupted => EXIT_INTERRUPTED,
        }
    }
}
