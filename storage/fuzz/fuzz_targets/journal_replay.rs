//! Arbitrary frames in a journal: replay ends, invents nothing, and says the same twice.
#![no_main]

use coreline_storage::data_dir::JournalId;
use coreline_storage::journal::replay;
use coreline_storage_fuzz::{JOURNAL, directory, frames};
use futures_lite::future::block_on;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((control, body)) = input.split_first_chunk::<4>() else { return };
    let generation = u64::from(control[0] % 3);
    let released = u64::from(control[1] % 8);
    let file = frames(body, generation, control[2] & 1 == 0);
    block_on(async {
        let split = file.len() * usize::from(control[3]) / 255;
        let (disk, dir) = directory(&file, generation, released, split).await;
        let path = dir.journal(JournalId(JOURNAL));
        let mut seen = Vec::new();
        let mut bytes = 0;
        let first = replay(&disk, &path, &mut |header, data| {
            bytes += data.len();
            seen.push((header, data.len()));
            Ok(())
        })
        .await;
        assert!(bytes <= file.len(), "{bytes} bytes of entries from {} bytes of frames", file.len());
        let mut again = seen.iter();
        let second = replay(&disk, &path, &mut |header, data| {
            assert_eq!(again.next(), Some(&(header, data.len())));
            Ok(())
        })
        .await;
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
    });
});
