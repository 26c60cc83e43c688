"""The Python client program: the common command line of broker/tests/clients/README.md over kafka-python."""

import base64
import json
import logging
import sys
import threading
import time

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

import member

FLAGS = {"idempotent", "commit"}


class Args:
    def __init__(self, argv):
        self.words, self.options = [], {}
        argv = iter(argv)
        for arg in argv:
            if not arg.startswith("--"):
                self.words.append(arg)
            elif arg[2:] in FLAGS:
                self.options[arg[2:]] = True
            else:
                self.options[arg[2:]] = next(argv)
        self.topics = self.words[1].split(",") if len(self.words) > 1 else []
        self.timeout = int(self.options.get("timeout", 60))
        self.client = {"bootstrap_servers": self.options.get("bootstrap", "127.0.0.1:9092"), "reconnect_backoff_max_ms": 500}


def version(_args):
    show({"client": "kafka-python", "version": kafka.__version__})


# Topics


def create(args):
    with KafkaAdminClient(**args.client) as admin:
        admin.create_topics({topic: {"num_partitions": int(args.words[2]), "replication_factor": 1} for topic in args.topics})


def delete(args):
    with KafkaAdminClient(**args.client) as admin:
        admin.delete_topics(args.topics)


def describe(args):
    with KafkaAdminClient(**args.client) as admin:
        for topic in admin.describe_topics(args.topics):
            if topic["error_code"] != 0:
                raise RuntimeError(f"{topic['name']}: error {topic['error_code']}")
            for partition in sorted(topic["partitions"], key=lambda each: each["partition_index"]):
                show({"topic": topic["name"], "partition": partition["partition_index"], "leader": partition["leader_id"],
                      "replicas": partition["replica_nodes"], "isr": partition["isr_nodes"]})


def list_offsets(args):
    topic = args.words[1]
    consumer = KafkaConsumer(**args.client)
    partitions = [TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic))]
    earliest, latest = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    at = None
    if "timestamp" in args.options:
        at = consumer.offsets_for_times({partition: int(args.options["timestamp"]) for partition in partitions})
    for partition in partitions:
        line = {"topic": topic, "partition": partition.partition, "earliest": earliest[partition], "latest": latest[partition]}
        if at is not None:
            line["at"] = at[partition].offset if at[partition] else -1
        show(line)
    consumer.close()


# Produce


def produce(args):
    acks = args.options.get("acks", "all")
    codec = args.options.get("codec", "none")
    config = {"acks": acks if acks == "all" else int(acks), "compression_type": None if codec == "none" else codec,
              "enable_idempotence": "idempotent" in args.options, "linger_ms": 5, "request_timeout_ms": 5000,
              "delivery_timeout_ms": max(args.timeout * 1000, 6000), "max_block_ms": args.timeout * 1000}
    if "idempotent" not in args.options:
        config["max_in_flight_requests_per_connection"] = 1
    producer = KafkaProducer(**args.client, **config)
    failures = []
    acknowledged = []
    rate = float(args.options.get("rate", 0))
    start, sent = time.monotonic(), 0

    def acked(i):
        def call(metadata):
            acknowledged.append(i)
            show({"i": i, "partition": metadata.partition, "offset": metadata.offset})
        return call

    with open(args.options["file"], encoding="utf-8") as lines:
        for text in lines:
            line = json.loads(text)
            if rate:
                time.sleep(max(0, start + sent / rate - time.monotonic()))
            future = producer.send(args.words[1], key=decode(line["key"]), value=decode(line["value"]), partition=line["partition"],
                                   timestamp_ms=line["timestamp"], headers=[(name, decode(value)) for name, value in line["headers"]])
            future.add_callback(acked(line["i"]))
            future.add_errback(lambda failure, i=line["i"]: failures.append(f"record {i}: {failure!r}"))
            sent += 1
    producer.flush(timeout=args.timeout)
    producer.close(timeout=5)
    if failures or len(acknowledged) != sent:
        raise RuntimeError(f"{len(acknowledged)} of {sent} records acknowledged; {failures[:3]}")


# Consume


def consume(args):
    consumer = KafkaConsumer(**args.client, enable_auto_commit=False, max_partition_fetch_bytes=4 << 20)
    partitions = [TopicPartition(topic, partition) for topic in args.topics for partition in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    receive(args, consumer)
    consumer.close()


def group_consume(args):
    consumer = KafkaConsumer(*args.topics, **args.client, group_id=args.options["group"], enable_auto_commit=False,
                             auto_offset_reset="earliest")
    following = receive(args, consumer)
    if "commit" in args.options:
        consumer.commit({partition: OffsetAndMetadata(offset, "", -1) for partition, offset in following.items()})
    consumer.close()


def receive(args, consumer):
    """Prints --count records; returns the next offset of every partition seen."""
    count, received, following = int(args.options["count"]), 0, {}
    deadline = time.monotonic() + args.timeout
    while received < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{received} of {count} records within the timeout")
        # Not shorter: a poll whose time is up in the middle of a rejoin leaves kafka-python 3.0.12 a member without an assignment, which
        # neither fetches nor sends heartbeats, although JoinGroup and SyncGroup were answered.
        for partition, records in consumer.poll(timeout_ms=5_000, max_records=count - received).items():
            for record in records:
                show({"topic": record.topic, "partition": record.partition, "offset": record.offset, "timestamp": record.timestamp,
                      "timestampType": {0: "create", 1: "append"}.get(record.timestamp_type, "none"),
                      "key": encode(record.key), "value": encode(record.value),
                      "headers": [[name, encode(value)] for name, value in record.headers]})
                following[partition] = record.offset + 1
                received += 1
    return following


# Helpers

OUTPUT = threading.Lock()


def show(line):
    with OUTPUT:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def decode(text):
    return None if text is None else base64.b64decode(text)


def encode(value):
    return None if value is None else base64.b64encode(value).decode()


COMMANDS = {"version": version, "create": create, "delete": delete, "describe": describe, "list-offsets": list_offsets,
            "produce": produce, "consume": consume, "group-consume": group_consume,
            "member": lambda args: member.Member(args, show).run(), "group-offsets": lambda args: member.group_offsets(args, show),
            "group-reset": lambda args: member.group_reset(args, show)}

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    arguments = Args(sys.argv[1:])
    COMMANDS[arguments.words[0]](arguments)
