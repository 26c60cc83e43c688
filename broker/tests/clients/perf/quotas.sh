#!/usr/bin/env bash
# What Kafka's own tools make of quotas: sets them with kafka-configs, shows them, then runs the producer and the consumer perf test at 1 MB/s.
#
#   broker/tests/clients/perf/quotas.sh HOST:PORT [ADMIN_HOST:PORT]
#
# The broker (Coreline or Apache Kafka) runs already. Needs JDK 17+ and mvn; jars as in run.sh. The rates printed are above 1 MB/s by what
# a quiet client may use at once: ten seconds' worth, so the first 10 of 40 MB come at full speed.
set -euo pipefail
server=${1:?HOST:PORT of the broker} admin=${2:-}
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../../../..")
work=${CARGO_TARGET_DIR:-$root/target}/interop-clients/perf
mkdir -p "$work"
if ! cmp -s "$here/pom.xml" "$work/fetched-pom.xml"; then
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$work/libs"
  cp "$here/pom.xml" "$work/fetched-pom.xml"
fi
tool() { java -XX:TieredStopAtLevel=1 -cp "$work/libs/*" "$@" 2>&1 | grep -v ' INFO ' || true; }
configs() { tool kafka.admin.ConfigCommand --bootstrap-server "$server" "$@"; }
configs --alter --add-config producer_byte_rate=1000000,consumer_byte_rate=1000000 --entity-type clients --entity-name perf
configs --alter --add-config request_percentage=150 --entity-type users --entity-default
configs --alter --add-config connection_creation_rate=1000 --entity-type ips --entity-name 127.0.0.1
for type in clients ips; do configs --describe --entity-type "$type"; done
tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$server" --create --if-not-exists --topic quotas --partitions 1
tool org.apache.kafka.tools.ProducerPerformance --topic quotas --num-records 40000 --record-size 1000 --throughput -1 \
  --producer-props "bootstrap.servers=$server" client.id=perf acks=1 | tail -1
tool org.apache.kafka.tools.ConsumerPerformance --bootstrap-server "$server" --topic quotas --num-records 40000 --timeout 60000 \
  --command-property client.id=perf --command-property auto.offset.reset=earliest
if [ -n "$admin" ]; then curl -s "http://$admin/metrics" | grep -E '^coreline_(produce|fetch)_throttled_total|^coreline_throttle_mill'; fi
