#!/usr/bin/env bash
# What clients cost on the same work: CPU seconds per GB and per million records of coreline-bench, kafka-producer-perf-test and kcat
# (librdkafka), each as producer of 1 KiB and of 100-byte records with acks=1, one after the other against the same server.
# Usage: generator-cost.sh HOST:PORT DIR_OF_KAFKA_JARS [COUNT]    (a server that runs; java and kcat in the path)
# CPU seconds are counted, not timed, so that other work on the machine changes them little; start-up of each client is part of its figure.
set -euo pipefail
server=$1 jars=$2 count=${3:-1000000}
bench=${CORELINE_BENCH:-target/release/coreline-bench}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
topic=generator-cost-$$
java -cp "$jars/*" org.apache.kafka.tools.TopicCommand --bootstrap-server "$server" --create --topic "$topic" --partitions 8 >/dev/null 2>&1

# Prints user plus system seconds of a command, which says nothing itself.
cpu() {
  local TIMEFORMAT='%U %S'
  { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{ print $1 + $2 }'
}
row() { awk -v name="$1" -v size="$2" -v n="$3" -v s="$4" 'BEGIN { printf "%-28s %5d B  %8.3f CPU-s/GB  %8.4f CPU-s/million\n", name, size, s / (n * size) * 1e9, s / n * 1e6 }'; }

for size in 1024 100; do
  batch=$((size == 1024 ? 65536 : 16384))
  s=$(cpu java -Xmx512m -cp "$jars/*" org.apache.kafka.tools.ProducerPerformance --topic "$topic" --num-records "$count" --record-size "$size" --throughput -1 \
    --producer-props bootstrap.servers="$server" acks=1 batch.size=$batch linger.ms=5 enable.idempotence=false)
  row kafka-producer-perf-test "$size" "$count" "$s"
  python3 - "$dir/lines" "$size" "$count" <<'PY'
import base64, os, sys
size, count = int(sys.argv[2]), int(sys.argv[3])
some = [base64.b64encode(os.urandom(size))[: size - 1] + b"\n" for _ in range(200)]
with open(sys.argv[1], "wb") as out:
    out.writelines(some[i % 200] for i in range(count))
PY
  s=$(cpu kcat -P -b "$server" -t "$topic" -l "$dir/lines" -X acks=1 -X batch.size=$batch -X linger.ms=5 -X queue.buffering.max.messages=1000000)
  row 'kcat (librdkafka)' "$size" "$count" "$s"
  "$bench" run "$(dirname "$0")/scenarios/produce-only.toml" --target "$server" --no-probe -q --json "$dir/ours.json" --set producers.value_bytes="$size" --set producers.batch_bytes=$batch >/dev/null
  python3 - "$dir/ours.json" "$size" <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
m = r["measured"]
n, s = m["counts"]["acked"], m["generator_cpu_s"]
print(f"{'coreline-bench':28} {int(sys.argv[2]):5} B  {s / m['counts']['acked_bytes'] * 1e9:8.3f} CPU-s/GB  {s / n * 1e6:8.4f} CPU-s/million")
PY
done
