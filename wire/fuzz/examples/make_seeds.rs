//! Writes the seeds that are committed: `cargo run --example make_seeds` in `wire/fuzz`.

use coreline_wire::record::{BatchBuilder, Compression};

fn main() {
    std::fs::create_dir_all("seeds/record_batches").expect("a directory");
    let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for codec in codecs {
        let mut builder = BatchBuilder::new().compression(codec, None).producer(7, 0, 3);
        builder.push(1_000_000, Some(b"key"), Some(b"value value value"), &[]);
        builder.push(1_000_001, None, None, &[]);
        let bytes = [&[0][..], &builder.build().expect("a batch")].concat();
        std::fs::write(format!("seeds/record_batches/{codec:?}").to_lowercase(), bytes).expect("a seed");
    }
}
