//! The rules of compaction, one by one, on batches in memory.

use coreline_wire::record::BatchBuilder;
use coreline_wire::record::batch::patch_base_offset;
use coreline_wire::record::control::EndTransactionMarker;

use super::*;

const NOW: i64 = 1_000_000;
const DAY: i64 = 86_400_000;

type Line<'a> = (&'a str, Option<&'a str>);

fn data(base_offset: i64, producer: Option<(i64, i32)>, transactional: bool, lines: &[Line<'_>]) -> Vec<u8> {
    let mut b = BatchBuilder::new().base_offset(base_offset);
    if let Some((id, sequence)) = producer {
        b = b.producer(id, 0, sequence);
    }
    if transactional {
        b = b.transactional();
    }
    for (key, value) in lines {
        b.push(500, (!key.is_empty()).then_some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    b.build().unwrap().to_vec()
}

fn marker(offset: i64, producer_id: i64, committed: bool) -> Vec<u8> {
    let mut batch = EndTransactionMarker { committed, coordinator_epoch: 1 }.batch(producer_id, 0, 500).to_vec();
    patch_base_offset(&mut batch, offset);
    batch
}

fn pass(now_ms: i64) -> Pass {
    Pass {
        keys: KeyMap::new(1 << 16, 0.9, 1000),
        now_ms,
        delete_retention_ms: DAY,
        last_of_producer: HashMap::new(),
        aborted: None,
        open_transactions: HashSet::new(),
        scratch: Vec::new(),
    }
}

/// Learns and filters a whole log.
fn compact(mut pass: Pass, log: &[Vec<u8>]) -> Vec<u8> {
    let bytes = Bytes::from(log.concat());
    if pass.aborted.is_some() {
        let mut scan = TransactionScan::default();
        scan.look(bytes.clone()).unwrap();
        pass.aborted = Some(scan.aborted);
    }
    assert!(pass.learn(bytes.clone(), 0).unwrap());
    let filtered = pass.filter(bytes).unwrap();
    assert_eq!(filtered.batches.iter().map(|b| b.bytes as usize).sum::<usize>(), filtered.bytes.len());
    filtered.bytes
}

/// Offsets and keys that are there, and `[first..last]` for a batch without records.
fn shown(log: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    let mut scratch = Vec::new();
    for batch in Batches::new(Bytes::copy_from_slice(log)) {
        let (header, batch) = batch.unwrap();
        let batch = batch.validate(Origin::Log).unwrap();
        if header.record_count == 0 {
            out.push(format!("[{}..{}]", header.base_offset, header.last_offset()));
        }
        for record in records_of(&batch, &mut scratch).unwrap() {
            let record = record.unwrap();
            let offset = header.base_offset + i64::from(record.offset_delta);
            if header.attributes.is_control() {
                out.push(format!("{offset}:marker"));
            } else {
                let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
                let value = record.value.map_or("-".into(), |v| String::from_utf8_lossy(v).into_owned());
                out.push(format!("{offset}:{key}={value}"));
            }
        }
    }
    out
}

#[test]
fn the_newest_record_of_each_key_stays_where_it_was() {
    let log = [
        data(0, None, false, &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]),
        data(3, None, false, &[("a", Some("2"))]),
        data(4, None, false, &[("b", Some("2")), ("", Some("no key")), ("a", Some("3"))]),
    ];
    assert_eq!(shown(&compact(pass(NOW), &log)), ["2:c=1", "4:b=2", "6:a=3"]);
}

#[test]
fn records_above_what_was_learnt_stay() {
    let log = [data(0, None, false, &[("a", Some("1")), ("a", Some("2"))]), data(2, None, false, &[("a", Some("3")), ("a", Some("4"))])];
    let mut pass = pass(NOW);
    assert!(pass.learn(Bytes::from(log[0].clone()), 0).unwrap());
    let filtered = pass.filter(Bytes::from(log.concat())).unwrap();
    assert_eq!(shown(&filtered.bytes), ["1:a=2", "2:a=3", "3:a=4"]);
    assert_eq!(filtered.dropped, 1);
}

#[test]
fn a_full_map_ends_before_the_record_that_did_not_fit() {
    let mut pass = Pass { keys: KeyMap::new(0, 0.6, 0), ..pass(NOW) };
    let log = data(5, None, false, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("c", Some("1")), ("a", Some("3"))]);
    assert!(!pass.learn(Bytes::from(log.clone()), 5).unwrap());
    assert_eq!((pass.keys.len(), pass.keys.latest()), (2, 7));
    assert_eq!(shown(&pass.filter(Bytes::from(log)).unwrap().bytes), ["6:b=1", "7:a=2", "8:c=1", "9:a=3"]);
}

#[test]
fn a_tombstone_stays_for_delete_retention_after_the_first_compaction_that_met_it() {
    let log = [data(0, None, false, &[("a", Some("1")), ("b", Some("1"))]), data(2, None, false, &[("a", None), ("c", Some("1"))])];
    let once = compact(pass(NOW), &log);
    assert_eq!(shown(&once), ["1:b=1", "2:a=-", "3:c=1"]);
    let header = |log: &[u8], n: usize| Batches::new(Bytes::copy_from_slice(log)).nth(n).unwrap().unwrap().0;
    assert_eq!(delete_horizon_ms(&header(&once, 0)), None, "a batch without tombstones gets none");
    assert_eq!(delete_horizon_ms(&header(&once, 1)), Some(NOW + DAY));
    // Again, a little later: nothing changes, the horizon stays.
    let again = compact(pass(NOW + DAY - 1), std::slice::from_ref(&once));
    assert_eq!(again, once);
    let over = compact(pass(NOW + DAY), std::slice::from_ref(&once));
    assert_eq!(shown(&over), ["1:b=1", "3:c=1"]);
    assert_eq!(shown(&compact(Pass { delete_retention_ms: 0, ..pass(NOW) }, &log)), ["1:b=1", "2:a=-", "3:c=1"], "met once at least");
}

#[test]
fn the_last_batch_of_a_producer_stays_without_its_records() {
    let log = [
        data(0, Some((7, 0)), false, &[("a", Some("1"))]),
        data(1, Some((7, 1)), false, &[("a", Some("2")), ("b", Some("1"))]),
        data(3, Some((8, 0)), false, &[("a", Some("3"))]),
        data(4, None, false, &[("a", Some("4")), ("b", Some("2"))]),
    ];
    let known = Pass { last_of_producer: [(7, 2), (8, 3)].into_iter().collect(), ..pass(NOW) };
    let once = compact(known, &log);
    assert_eq!(shown(&once), ["[1..2]", "[3..3]", "4:a=4", "5:b=2"]);
    let forgotten = Pass { last_of_producer: [(8, 3)].into_iter().collect(), ..pass(NOW) };
    assert_eq!(shown(&compact(forgotten, &[once])), ["[3..3]", "4:a=4", "5:b=2"]);
}

#[test]
fn of_an_aborted_transaction_nothing_stays_and_its_marker_goes_last() {
    let log = [
        data(0, Some((1, 0)), true, &[("a", Some("committed"))]),
        data(1, Some((2, 0)), true, &[("a", Some("aborted")), ("b", Some("aborted"))]),
        marker(3, 1, true),
        marker(4, 2, false),
        data(5, Some((2, 2)), true, &[("c", Some("committed"))]),
        marker(6, 2, true),
    ];
    assert_eq!(pass(NOW).learn(Bytes::from(log.concat()), 0), Err(Stop::NeedTransactions));
    let with = |now_ms| Pass { aborted: Some(Vec::new()), ..pass(now_ms) };
    let once = compact(with(NOW), &log);
    assert_eq!(shown(&once), ["0:a=committed", "3:marker", "4:marker", "5:c=committed", "6:marker"]);
    // The abort marks nothing any more: it gets its horizon now, and goes when that has passed.
    let twice = compact(with(NOW), &[once]);
    assert_eq!(shown(&twice).len(), 5);
    assert_eq!(shown(&compact(with(NOW + DAY - 1), std::slice::from_ref(&twice))).len(), 5);
    let over = compact(with(NOW + DAY), &[twice]);
    assert_eq!(shown(&over), ["0:a=committed", "3:marker", "5:c=committed", "6:marker"]);
}

#[test]
fn what_cannot_be_decoded_stays_whole_and_damage_is_told() {
    let mut b = BatchBuilder::new().compression(Compression::Lz4, None);
    b.push(1, Some(b"a"), Some(b"1"), &[]);
    let mut odd = b.build().unwrap().to_vec();
    let end = odd.len();
    odd[end - 6..].fill(0xff);
    coreline_wire::record::batch::patch_crc(&mut odd);
    let log = [odd.clone(), data(1, None, false, &[("a", Some("2"))])];
    assert_eq!(compact(pass(NOW), &log)[..end], odd[..]);
    let mut damaged = log.concat();
    damaged[end + 62] ^= 1;
    assert!(matches!(pass(NOW).filter(Bytes::from(damaged)), Err(Stop::Damaged(at, _)) if at == end));
}
