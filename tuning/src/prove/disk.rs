//! Probes of the disk: write plus flush, sequential and random, on one temporary file that has no name and goes with the process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

use super::probe::{Distribution, SAMPLES_MAX, micros};
use super::{Measure, Metric, name};
use crate::knob::ProbeKind;

/// Size of the file; small, since the machine may be in use.
const FILE_BYTES: u64 = 32 << 20;
const BLOCK: usize = 4096;
const LARGE: usize = 1 << 20;

/// A file for probes.
pub struct DiskFile {
    direct: File,
    buffered: File,
    /// False where the file system refuses to go past the page cache; figures are then those of the cache.
    pub is_direct: bool,
    buffer: Vec<u8>,
    start: usize,
    seed: u64,
}

impl DiskFile {
    /// Makes the file in `dir`, fills it and takes its name away.
    pub fn create(dir: &Path) -> io::Result<DiskFile> {
        let path = dir.join(format!(".coreline-tune-probe-{}", std::process::id()));
        let buffered = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let direct = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_DIRECT.bits()).open(&path);
        std::fs::remove_file(&path)?;
        let is_direct = direct.is_ok();
        let direct = direct.or_else(|_| buffered.try_clone())?;
        let buffer: Vec<u8> = (0..LARGE + BLOCK).map(|i| (i * 131 % 251) as u8).collect();
        let start = buffer.as_ptr().align_offset(BLOCK);
        let mut file = DiskFile { direct, buffered, is_direct, buffer, start, seed: 1 };
        for at in (0..FILE_BYTES).step_by(LARGE) {
            file.write_at(at, LARGE)?;
        }
        file.direct.sync_all()?;
        Ok(file)
    }

    fn write_at(&mut self, at: u64, bytes: usize) -> io::Result<()> {
        self.direct.write_all_at(&self.buffer[self.start..self.start + bytes], at)
    }

    /// A place for a block; the sequence is always the same.
    fn random_place(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % (FILE_BYTES / BLOCK as u64) * BLOCK as u64
    }

    /// Latencies of one probe, microseconds (for large pieces: per MiB).
    pub fn distribution(&mut self, kind: ProbeKind, time: Duration) -> io::Result<Distribution> {
        let values = match kind {
            ProbeKind::WriteFlush => self.repeat(time, |file, i| {
                file.write_at(i * BLOCK as u64 % FILE_BYTES, BLOCK)?;
                file.direct.sync_data()
            })?,
            ProbeKind::SequentialDisk => self.repeat(time, |file, i| file.write_at(i * LARGE as u64 % FILE_BYTES, LARGE))?,
            ProbeKind::RandomDisk => self.repeat(time, |file, _| {
                let (at, start) = (file.random_place(), file.start);
                file.direct.read_exact_at(&mut file.buffer[start..start + BLOCK], at)
            })?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a probe of the disk")),
        };
        Ok(Distribution::of(values))
    }

    /// Reads the file in order through the page cache after dropping it from there: what a consumer that catches up sees.
    fn catch_up(&mut self, time: Duration) -> io::Result<Distribution> {
        self.buffered.sync_all()?;
        posix_fadvise(&self.buffered, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(io::Error::from)?;
        let once = FILE_BYTES / LARGE as u64;
        let (mut values, end) = (Vec::new(), Instant::now() + time);
        for i in 0..once {
            let begun = Instant::now();
            self.buffered.read_exact_at(&mut self.buffer[self.start..self.start + LARGE], i * LARGE as u64)?;
            values.push(micros(begun.elapsed()));
            if begun > end {
                break;
            }
        }
        Ok(Distribution::of(values))
    }

    fn repeat(&mut self, time: Duration, mut step: impl FnMut(&mut DiskFile, u64) -> io::Result<()>) -> io::Result<Vec<f64>> {
        let (mut values, end) = (Vec::new(), Instant::now() + time);
        for i in 0..SAMPLES_MAX as u64 {
            let begun = Instant::now();
            step(self, i)?;
            values.push(micros(begun.elapsed()));
            if Instant::now() > end {
                break;
            }
        }
        Ok(values)
    }
}

/// A probe of the disk that runs for a while.
pub struct DiskProbe {
    /// Which.
    pub kind: ProbeKind,
    /// How long.
    pub time: Duration,
    /// Where; shared by the probes of one proof.
    pub file: std::rc::Rc<std::cell::RefCell<DiskFile>>,
}

impl Measure for DiskProbe {
    fn measure(&mut self) -> io::Result<Vec<Metric>> {
        let mut file = self.file.borrow_mut();
        let d = file.distribution(self.kind, self.time)?;
        let of = |what: &str, value| Metric { name: format!("{} {what}", name(self.kind)), value };
        if self.kind == ProbeKind::SequentialDisk {
            let read = file.catch_up(self.time)?;
            return Ok(vec![of("write p50/MiB", d.p50), of("catch-up p50/MiB", read.p50)]);
        }
        Ok(vec![of("p50", d.p50), of("p99", d.p99)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_probe_gives_latencies_and_leaves_no_file() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut file = DiskFile::create(dir.path()).expect("creates");
        assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 0);
        for kind in [ProbeKind::WriteFlush, ProbeKind::SequentialDisk, ProbeKind::RandomDisk] {
            let d = file.distribution(kind, Duration::from_millis(20)).expect("runs");
            assert!(d.samples > 0 && d.p50 > 0.0, "{kind:?}: {d:?}");
        }
        assert!(file.catch_up(Duration::from_millis(20)).expect("runs").samples > 0);
        assert!(DiskFile::create(Path::new("/no/such/dir")).is_err());
    }
}
