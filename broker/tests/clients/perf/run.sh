#!/usr/bin/env bash
# Compares Coreline with Apache Kafka 4.3.1 on this machine in one run: broker CPU-seconds per GB under kafka-producer-perf-test with
# 1 KiB records, resident memory and CPU at idle, start to first acknowledged produce. Rounds are interleaved; medians and ratios at the end.
#
#   broker/tests/clients/perf/run.sh [--records N] [--rounds N] [--acks 1|all] [--shards N] [--idle-seconds N] [--only coreline|kafka]
#
# Needs Rust, JDK 17+, mvn and python3 (standard library only). Jars are fetched once into target/interop-clients/perf; data goes to
# target/interop-clients/perf/data and is removed. Loopback only. A GB is 10^9 bytes of record values.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../../../..")
work=${CARGO_TARGET_DIR:-$root/target}/interop-clients/perf
mkdir -p "$work"
if ! cmp -s "$here/pom.xml" "$work/fetched-pom.xml"; then
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$work/libs"
  cp "$here/pom.xml" "$work/fetched-pom.xml"
fi
cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p coreline-broker --bin coreline
exec python3 "$here/compare.py" --libs "$work/libs" --work "$work/data" --coreline "${CARGO_TARGET_DIR:-$root/target}/release/coreline" "$@"
