//! Servers that the harness starts itself: what `--target`, `--a` and `--b` may say, and the adapters behind it.
//!
//! | spec | server |
//! |---|---|
//! | `coreline[:PATH][,KEY=VALUE...]` | Coreline; PATH is the executable, without it `coreline` beside this program; settings go to `--set` |
//! | `kafka[:DIR][,KEY=VALUE...]` | Apache Kafka 4.3.1, one KRaft node; DIR holds its jars, without it they are fetched once from Maven Central and checked; settings go to `server.properties` |
//! | `kafka,durable` | the same with every append flushed before its answer (`log.flush.interval.messages=1`): the durability that Coreline always has |
//! | `kafka,heap=2g` | the same with another heap (default 1g, as Kafka's own start script) |
//! | `cmd:COMMAND` | any command for `/bin/sh`; `{port}` and `{dir}` in it are replaced by a free port and an empty directory |
//! | `cmd@HOST:PORT:COMMAND` | the same for a server that has a port of its own |
//! | `HOST:PORT` | a server that is there already; never started, stopped or wiped, and without figures of its cost |
//!
//! A server that was started here has its data in a temporary directory and never outlives this program, however that ends (`supervise.rs`).

mod fetch;
mod kafka;
mod local;
mod spec;
pub mod supervise;

use std::path::PathBuf;
use std::sync::Arc;

pub use local::{Local, Place, Watch};
pub use spec::{Spec, SpecError};

use crate::error::BenchError;
use crate::interrupt::Flag;
use crate::target::{Address, Target};

/// What the adapters need to know of this program and its surroundings.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// This program's executable, which is run again as the supervisor of a server.
    pub program: PathBuf,
    /// Directory in which data directories are made; default the system's temporary directory.
    pub data_root: PathBuf,
    /// Jars of Apache Kafka (`--kafka-libs`), for `kafka` without DIR.
    pub kafka_libs: Option<PathBuf>,
    /// CPUs that servers are kept on (`--server-cpus`); none are any.
    pub server_cpus: Vec<usize>,
    /// Bytes of memory, page cache included, that each server may use (`--server-memory`).
    pub server_memory: Option<u64>,
    /// Ends every wait for a server when it is raised, and with it the server.
    pub flag: Flag,
}

impl Surroundings {
    /// Of this process.
    pub fn of_this_process(flag: &Flag) -> Result<Surroundings, BenchError> {
        let program = std::env::current_exe().map_err(|error| BenchError::host("finding this program's executable", error))?;
        Ok(Surroundings {
            program,
            data_root: std::env::temp_dir(),
            kafka_libs: None,
            server_cpus: Vec::new(),
            server_memory: None,
            flag: Arc::clone(flag),
        })
    }
}

/// A server as the commands use it: some have a process here, some are only an address.
pub enum Server {
    /// Started here.
    Local(Box<Local>),
    /// Elsewhere.
    Remote(Address),
}

impl Server {
    /// Prepares a server: directories, jars, ports, configuration. Starts nothing but the supervisor.
    pub fn prepare(spec: &Spec, around: &Surroundings) -> Result<Server, BenchError> {
        match spec {
            Spec::Address(address) => Ok(Server::Remote(Address(address.clone()))),
            _ => Ok(Server::Local(Box::new(Local::prepare(spec, around)?))),
        }
    }

    /// As the engine sees it.
    pub fn target(&mut self) -> &mut dyn Target {
        match self {
            Server::Local(local) => local.as_mut(),
            Server::Remote(address) => address,
        }
    }

    /// The process started here, if there is one.
    pub fn local(&self) -> Option<&Local> {
        match self {
            Server::Local(local) => Some(local),
            Server::Remote(_) => None,
        }
    }

    /// Starts it on an empty directory and waits until it takes connections; an address is left as it is.
    pub fn start_fresh(&mut self) -> Result<(), BenchError> {
        match self {
            Server::Remote(_) => Ok(()),
            Server::Local(local) => {
                local.wipe()?;
                local.start()?;
                local.wait_until_it_serves()
            }
        }
    }

    /// Finds out whether it can be had at all: starts it and stops it again, or greets an address.
    pub fn try_out(&mut self, flag: &Flag) -> Result<(), BenchError> {
        match self {
            Server::Local(_) => self.start_fresh().and_then(|()| self.stop()),
            Server::Remote(address) => crate::run::greet(address, flag),
        }
    }

    /// Stops it in its tracks (SIGSTOP), so that it costs nothing while another is measured; an address is left as it is.
    pub fn freeze(&self) {
        if let Server::Local(local) = self {
            local.freeze();
        }
    }

    /// Lets it go on after a freeze and waits until it takes connections; an address is left as it is.
    pub fn thaw(&mut self) -> Result<(), BenchError> {
        match self {
            Server::Local(local) if local.pid().is_some() => local.thaw(),
            _ => Ok(()),
        }
    }

    /// Stops it if it runs, by SIGKILL once the run is interrupted; an address is left as it is.
    pub fn stop(&mut self) -> Result<(), BenchError> {
        match self {
            Server::Local(local) if local.pid().is_some() => local.stop(),
            _ => Ok(()),
        }
    }
}
