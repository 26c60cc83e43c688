#!/usr/bin/env bash
# What survives compaction: the same records to two brokers, then the same questions to both. Prints the number of records that are left, and the differences.
#
#   compare.sh A_HOST:PORT B_HOST:PORT TOPICS_COMMAND
#
# TOPICS_COMMAND is Kafka's kafka-topics (one word or several, quoted). Both brokers should run with log.cleaner.backoff.ms=1000; kcat must be there. Each record is a batch of its own,
# so that segments begin at the same offsets on both.
set -euo pipefail
A=$1 B=$2 TOPICS=$3
TOPIC="compaction-$RANDOM"
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT

for broker in "$A" "$B"; do
  $TOPICS --bootstrap-server "$broker" --create --topic "$TOPIC" --partitions 1 --replication-factor 1 \
    --config cleanup.policy=compact --config segment.bytes=1048576 --config min.cleanable.dirty.ratio=0.01 \
    --config delete.retention.ms=5000 >/dev/null
done

# Records: 300 keys, one in twelve a tombstone. The same on every run of a phase.
records() { # phase, count
  awk -v phase="$1" -v count="$2" 'BEGIN {
    srand(phase * 7919);
    for (i = 0; i < count; i++) {
      key = "key-" int(rand() * 300);
      if (rand() < 0.083) { print key "\t"; continue }
      value = phase "-" i "-";
      while (length(value) < 1000) value = value int(rand() * 1000000000);
      print key "\t" value
    }
  }'
}

produce() { # broker, phase, codec, idempotent
  kcat -P -b "$1" -t "$TOPIC" -p 0 -K '\t' -Z -z "$3" -X batch.num.messages=1 -X enable.idempotence="$4" -X linger.ms=0 < "$DIR/phase-$2" 2>"$DIR/errors"
}

shown() { kcat -C -b "$1" -t "$TOPIC" -p 0 -o beginning -e -q -f '%o %k %S %s\n' 2>/dev/null | awk '{print $1, $2, $3, substr($4, 1, 40)}'; }

settle() { # waits until the number of records of both has not changed for 6 s
  local last="" same=0
  for _ in $(seq 120); do
    local now
    now="$(shown "$A" | wc -l) $(shown "$B" | wc -l)"
    if [ "$now" = "$last" ]; then same=$((same + 1)); else same=0; fi
    [ "$same" -ge 6 ] && return
    last=$now
    sleep 1
  done
}

phase=0
for codec in none lz4 gzip snappy zstd; do
  phase=$((phase + 1))
  records "$phase" 2500 > "$DIR/phase-$phase"
  idempotent=$([ $((phase % 2)) = 0 ] && echo true || echo false)
  for broker in "$A" "$B"; do produce "$broker" "$phase" "$codec" "$idempotent"; done
  settle
  shown "$A" > "$DIR/a"
  shown "$B" > "$DIR/b"
  sent=$((phase * 2500))
  if cmp -s "$DIR/a" "$DIR/b"; then verdict=equal; else verdict=DIFFERENT; fi
  echo "$codec: $sent sent, $(wc -l < "$DIR/a") left on the first, $(wc -l < "$DIR/b") on the second, $(awk '$3 < 0' "$DIR/b" | wc -l) tombstones: $verdict"
  diff "$DIR/a" "$DIR/b" | head -20 || true
  # Tombstones of this phase are over in the next.
  sleep 6
done
