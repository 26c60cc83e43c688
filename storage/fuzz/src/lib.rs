//! Files for the fuzz targets: arbitrary bytes, with the checksums put right so that what lies behind them is reached.

use std::path::Path;

use coreline_storage::data_dir::DataDir;
use coreline_storage::io::{Disk, SimDisk};
use coreline_storage::snapshot_file::seal_envelope;
use coreline_wire::{TopicId, TopicPartition};

/// The data directory.
pub const ROOT: &str = "/data";
/// The only journal.
pub const JOURNAL: u64 = 0xabc0;
/// The only partition.
pub const PARTITION: TopicPartition = TopicPartition { topic: TopicId([9; 16]), partition: 0 };

const BLOCK: usize = 4096;
/// Bytes of input used for one file.
const FILE_BYTES_MAX: usize = 256 << 10;

/// Whole blocks, each frame with the checksum, the journal and (in `odd` inputs not) the generation it should have.
pub fn frames(input: &[u8], generation: u64, repair: bool) -> Vec<u8> {
    let input = &input[..input.len().min(FILE_BYTES_MAX)];
    let mut file = input.to_vec();
    file.resize(file.len().next_multiple_of(BLOCK), 0);
    let mut at = 0;
    while repair && at < file.len() {
        let len = u32::from_le_bytes(file[at + 56..at + 60].try_into().expect("four bytes")) as usize;
        let whole = &file[at..at + 4] == b"CLJF" && len >= BLOCK && len % BLOCK == 0 && at + len <= file.len();
        if !whole {
            at += BLOCK;
            continue;
        }
        let frame = &mut file[at..at + len];
        frame[16..24].copy_from_slice(&JOURNAL.to_le_bytes());
        frame[24..32].copy_from_slice(&generation.to_le_bytes());
        let crc = crc32fast::hash(&frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        at += len;
    }
    file
}

/// A data directory with these frames in its journal, in two files when `split` lies inside.
pub async fn directory(file: &[u8], generation: u64, released: u64, split: usize) -> (SimDisk, DataDir) {
    let disk = SimDisk::new(1);
    let dir = DataDir::new(ROOT);
    let journal = dir.journal(coreline_storage::data_dir::JournalId(JOURNAL));
    for path in [&journal, &dir.topics(), &dir.checkpoints(), &dir.partition(PARTITION)] {
        disk.mkdir(path);
    }
    let mut state = Vec::new();
    for number in [JOURNAL, generation, released] {
        state.extend_from_slice(&number.to_le_bytes());
    }
    write(&disk, &journal.join("journal.b"), &seal_envelope(*b"JRNL", 1, 1, &state)).await;
    let split = (split / BLOCK * BLOCK).min(file.len());
    write(&disk, &journal.join("00000000.frames"), &file[..split]).await;
    write(&disk, &journal.join("00000001.frames"), &file[split..]).await;
    (disk, dir)
}

/// Writes a file.
pub async fn write(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    disk.write_file(path, bytes).await.expect("the simulated disk writes");
}
