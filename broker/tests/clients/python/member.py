"""A member of a group that follows commands on its stdin, and a group's offsets told and set."""

import queue
import sys
import threading
import time

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.errors import KafkaConnectionError, KafkaError
from kafka.structs import OffsetAndMetadata

ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor, "cooperative-sticky": CooperativeStickyAssignor}


class Member(ConsumerRebalanceListener):
    def __init__(self, args, show):
        self.show, self.last, self.told = show, {}, -1
        static = {"group_instance_id": args.options["instance"]} if "instance" in args.options else {}
        self.consumer = KafkaConsumer(
            **args.client, **static, group_id=args.options["group"], enable_auto_commit=False, auto_offset_reset="earliest",
            session_timeout_ms=6000, heartbeat_interval_ms=500, max_poll_interval_ms=60_000, fetch_max_wait_ms=200,
            partition_assignment_strategy=[ASSIGNORS[args.options.get("assignor", "range")]])
        # A poll whose time is up in the middle of a rejoin leaves kafka-python 3.0.12 a member without an assignment, so a rejoin has all
        # the time it wants.
        coordinator = self.consumer._coordinator
        self.coordinate = coordinator.poll
        coordinator.poll = lambda timeout_ms=None: self.coordinate(timeout_ms=30_000)
        self.commands = queue.Queue()
        threading.Thread(target=self.read_commands, daemon=True).start()
        self.consumer.subscribe(args.topics, listener=self)

    def run(self):
        while True:
            try:
                polled = self.consumer.poll(timeout_ms=50)
            except KafkaConnectionError as failure:
                # Told to the application while the broker is away.
                print(repr(failure), file=sys.stderr)
                continue
            for partition, records in polled.items():
                self.show({"event": "records", "generation": self.generation(), "topic": partition.topic,
                           "partition": partition.partition, "offsets": [record.offset for record in records]})
                self.last[partition] = records[-1].offset + 1
            if self.generation() != self.told and self.generation() >= 0 and self.told >= 0:
                # Cooperative members that got nothing new are not called.
                self.on_partitions_assigned([])
            try:
                command = self.commands.get_nowait()
            except queue.Empty:
                continue
            if command == "commit":
                self.commit()
            elif command == "leave":
                self.consumer.close()
                self.show({"event": "left", "at": now()})
                return
            else:
                raise ValueError(f"unknown command {command}")

    def commit(self):
        asked = now()
        # It keeps its place in what an eager rebalance takes and gives back.
        following = {partition: self.last[partition] for partition in self.consumer.assignment()
                     if self.consumer.position(partition) == self.last.get(partition)}
        offsets = [[partition.topic, partition.partition, offset] for partition, offset in following.items()]
        try:
            if offsets:
                self.consumer.commit({partition: OffsetAndMetadata(offset, "", -1) for partition, offset in following.items()})
            self.show({"event": "committed", "asked": asked, "at": now(), "offsets": offsets})
        except KafkaError as failure:
            self.show({"event": "commit-failed", "reason": repr(failure), "offsets": offsets})

    def on_partitions_assigned(self, assigned):
        self.told = self.generation()
        owned = places(self.consumer.assignment())
        self.show({"event": "assigned", "at": now(), "generation": self.told, "partitions": places(assigned), "owned": owned})

    def on_partitions_revoked(self, revoked):
        # Called with nothing before the first join.
        if revoked:
            self.show({"event": "revoked", "at": now(), "partitions": places(revoked)})

    def on_partitions_lost(self, lost):
        self.on_partitions_revoked(lost)

    def generation(self):
        return self.consumer._coordinator.group_metadata().generation_id

    def read_commands(self):
        for line in sys.stdin:
            self.commands.put(line.strip())
        self.commands.put("leave")


def now():
    return int(time.time() * 1000)


def places(partitions):
    return sorted([partition.topic, partition.partition] for partition in partitions)


def group_offsets(args, show):
    topic, group = args.words[1], args.options["group"]
    consumer = KafkaConsumer(**args.client)
    partitions = [TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic))]
    ends = consumer.end_offsets(partitions)
    consumer.close()
    with KafkaAdminClient(**args.client) as admin:
        committed = admin.list_group_offsets(group)[group]
    for partition in partitions:
        at = committed[partition].offset if partition in committed else -1
        show({"topic": topic, "partition": partition.partition, "committed": at, "end": ends[partition], "lag": ends[partition] - max(at, 0)})


def group_reset(args, _show):
    topic, to = args.words[1], int(args.options["to"])
    consumer = KafkaConsumer(**args.client)
    offsets = {TopicPartition(topic, partition): OffsetAndMetadata(to, "", -1) for partition in consumer.partitions_for_topic(topic)}
    consumer.close()
    with KafkaAdminClient(**args.client) as admin:
        for partition, error in admin.alter_group_offsets(args.options["group"], offsets).items():
            if getattr(error, "errno", 0) != 0:
                raise RuntimeError(f"{partition}: {error}")
