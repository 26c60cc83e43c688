#!/usr/bin/env bash
# Counts what a broker under load asks of the kernel, thread by thread, and compares the layout of its journal files before and after.
#
#   broker/tests/clients/perf/syscalls.sh [--partitions N] [--records N] [--mode probe|fua|flush] [--class durable|replicated|memory]
#
# Needs strace, filefrag, curl, a release build and the jars that run.sh fetches. Prints the journal's counters (frames = device writes), whether
# size, blocks and extents of its files have stayed, and per thread its system calls: the shard's thread is the one with io_uring_enter; flushes,
# truncations, opens and renames belong to pool threads alone. One shard, segments of 1 MiB that roll all the time; loopback only.
set -euo pipefail
partitions=8 records=60000 mode=probe class=durable
while [ $# -gt 0 ]; do
  case $1 in
    --partitions) partitions=$2 ;; --records) records=$2 ;; --mode) mode=$2 ;; --class) class=$2 ;;
    *) echo "unknown: $1" >&2; exit 2 ;;
  esac
  shift 2
done
root=$(readlink -f "$(dirname "$(readlink -f "$0")")/../../../..")
target=${CARGO_TARGET_DIR:-$root/target}
work=$(mktemp -d "$target/syscalls.XXXXXX")
port=$((20000 + RANDOM % 10000)) admin=$((port + 10000))
"$target/release/coreline" serve --data-dir "$work/data" --listen "127.0.0.1:$port" --admin-listen "127.0.0.1:$admin" --shards 1 \
  --set "num.partitions=$partitions" --set log.segment.bytes=1048576 --set journal.file.bytes=4194304 --set journal.max.bytes=12582912 \
  --set "journal.sync.mode=$mode" --set "log.durability.class=$class" > "$work/log" 2>&1 &
broker=$!
trap 'kill "$broker" 2>/dev/null || true; wait "$broker" 2>/dev/null || true; rm -rf "$work"' EXIT
until curl -fs "http://127.0.0.1:$admin/ready" > "$work/ready" 2>/dev/null; do kill -0 "$broker"; sleep 0.1; done
load() {
  java -Xmx256m -cp "$target/interop-clients/perf/libs/*" org.apache.kafka.tools.ProducerPerformance --topic t --num-records "$1" --record-size 1024 \
    --throughput -1 --producer-props "bootstrap.servers=127.0.0.1:$port" acks=all batch.size=16384 linger.ms=2 | grep 99.9th
}
layout() { for file in "$work"/data/journal/*/*.frames; do stat -c '%n %s %b' "$file"; filefrag -v "$file" | grep -E '^ +[0-9]+:'; done; }
counters() { curl -fs "http://127.0.0.1:$admin/metrics" | grep -E '^coreline_(journal_(frames|flushes)_total|checkpoints_total|appended_batches_total|class_)'; }
load 40000
layout > "$work/before"
counters > "$work/counters"
strace -f -qq -o "$work/trace" -p "$broker" & tracer=$!
sleep 1
load "$records"
kill -INT "$tracer"
wait "$tracer" 2>/dev/null || true
layout > "$work/after"
if cmp -s "$work/before" "$work/after"; then echo "journal files: size, blocks and extents unchanged"; else diff "$work/before" "$work/after" || true; fi
paste -d ' ' "$work/counters" <(counters) | awk '{ if ($1 ~ /_total/) print $1, $4 - $2; else print $3, $4 }'
awk '{ split($2, call, "("); if (call[1] ~ /^[a-z]/) n[$1 " " call[1]]++ } END { for (key in n) { split(key, k, " "); line[k[1]] = line[k[1]] " " k[2] "=" n[key] } for (t in line) print "thread " t ":" line[t] }' "$work/trace"
