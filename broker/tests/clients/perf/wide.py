#!/usr/bin/env python3
"""Measures how long one request over very many partitions holds its shard: the longest turn of the shard's loop, by kind of request.

  cargo build --release -p coreline-broker --bin coreline
  python3 broker/tests/clients/perf/wide.py [--partitions 10000] [--rounds 20] [--only Fetch]

Standard library only; the broker (one shard on CPU 0, this script on the others) is a child process with a directory below target/, which is
removed. Each request is sent many times; told is the turn of the quietest round: work that a request always does is in each of them, what other
programs take of the CPU is not. `own` leaves out that time as the broker counts it, `wall` does not.
"""

import argparse
import os
import shutil
import struct
import sys
import time

import storage
from storage import Broker, ask, connect, pin_this, record_batch, string


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="", help="requests whose name begins so")
    parser.add_argument("--limit", type=float, default=2.0, help="ms; the status tells whether every request keeps to it")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--coreline", default=os.path.join(storage.TARGET, "release", "coreline"))
    parser.add_argument("--work", default=os.path.join(storage.TARGET, "wide-measure"))
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    os.makedirs(args.work)
    args.set += ["group.initial.rebalance.delay.ms=0"]
    broker = Broker(args)
    try:
        pin_this()
        broker.start()
        worst = measure(broker, args)
    finally:
        broker.kill()
        shutil.rmtree(args.work, ignore_errors=True)
    print(f"longest turn of all: {worst:g} ms, bound {args.limit:g} ms: {'met' if worst <= args.limit else 'NOT MET'}")
    sys.exit(worst > args.limit)


def measure(broker, args):
    worst = 0
    print(f"{'request':<44} {'answer, B':>10} {'own, ms':>9} {'wall, ms':>9} {'turns':>7}")
    with connect(broker.port) as stream:
        group_ready(stream)
        before = broker.metrics()
        for name, rounds, key, version, bodies in requests(args.partitions, args.rounds):
            if not name.startswith(args.only) and not name.startswith("CreateTopics 1"):
                continue
            own, wall, turns, size = [], [], [], 0
            for body in bodies if rounds is None else [bodies] * rounds:
                answer = ask(stream, key, version, body() if callable(body) else body)
                size = len(answer)
                after = broker.metrics()
                own.append(longest(after, before, "coreline_turn_own_seconds"))
                wall.append(longest(after, before, "coreline_turn_seconds"))
                turns.append(int(storage.total(after, "coreline_turn_seconds_count") - storage.total(before, "coreline_turn_seconds_count")))
                before = after
            if name != "nothing":
                worst = max(worst, min(own))
            print(f"{name:<44} {size:>10} {min(own):>9g} {min(wall):>9g} {min(turns):>7}", flush=True)
    return worst


def group_ready(stream):
    """Waits until the group's coordinator takes a commit: of one offset."""
    body = string("group") + struct.pack(">i", -1) + string("") + struct.pack(">q", -1)
    body += struct.pack(">i", 1) + string("first") + struct.pack(">iiq", 1, 0, 0) + string("")
    for _ in range(600):
        found = struct.unpack_from(">h", ask(stream, 10, 0, string("group")))[0]
        if found == 0 and ask(stream, 8, 2, body)[-2:] == b"\0\0":
            return
        time.sleep(0.1)
    sys.exit("the group has no coordinator")


def longest(after, before, name):
    """Upper bound, ms, of the highest bucket in which a turn of these lies."""
    grown = {}
    storage.grow(grown, after, before)
    bounds = storage.bounds(grown, name + "_bucket")
    everything = max(bounds.values(), default=0)
    below = [bound for bound in bounds if bounds[bound] >= everything]
    return min(below, default=float("inf")) * 1e3


# The requests: name, rounds (None for bodies that differ), API key, version, body ----------------------------------------------------


def requests(partitions, rounds):
    many = range(partitions)
    batch = record_batch([b"x" * 100])

    def topic(per_partition, name="wide"):
        return struct.pack(">i", 1) + string(name) + struct.pack(">i", partitions) + b"".join(per_partition(p) for p in many)

    def fetch(version, offset, wait_ms, session=(0, -1), empty=False):
        head = struct.pack(">iiiib", -1, wait_ms, 1, 50 << 20, 0)
        head += struct.pack(">ii", *session) if version >= 7 else b""
        epoch = struct.pack(">i", -1) if version >= 9 else b""
        start = struct.pack(">q", -1) if version >= 5 else b""
        body = struct.pack(">i", 0) if empty else topic(lambda p: struct.pack(">i", p) + epoch + struct.pack(">q", offset) + start + struct.pack(">i", 1 << 20))
        return head + body + (struct.pack(">i", 0) if version >= 7 else b"") + (string("") if version >= 11 else b"")

    def list_offsets(timestamp):
        return struct.pack(">i", -1) + topic(lambda p: struct.pack(">iq", p, timestamp))

    def create(names, count):
        topics = b"".join(string(n) + struct.pack(">ihii", count, 1, 0, 0) for n in names)
        return struct.pack(">i", len(names)) + topics + struct.pack(">ib", 60_000, 0)

    def produce(version, acks):
        return struct.pack(">hhi", -1, acks, 60_000) + topic(lambda p: struct.pack(">ii", p, len(batch)) + batch)

    def describe(kind, names):
        return struct.pack(">i", len(names)) + b"".join(struct.pack(">b", kind) + string(n) + struct.pack(">i", -1) for n in names) + b"\x00"

    def drop(names):
        return struct.pack(">i", len(names)) + b"".join(string(n) for n in names) + struct.pack(">i", 60_000)

    small = [f"small-{i}" for i in range(min(1000, partitions))]
    group = string("group")
    yield "nothing", rounds, 18, 0, b""
    yield f"CreateTopics 1 topic x {partitions}", None, 19, 2, [create(["wide"], partitions)]
    yield f"CreateTopics {len(small)} topics x 1", None, 19, 2, [create(small, 1)]
    yield "CreateTopics 1000 topics x 1, v5 with configs", None, 19, 4, [create([f"more-{i}" for i in range(1000)], 1)]
    yield "Metadata all topics, v4", rounds, 3, 4, struct.pack(">i", -1) + b"\x00"
    yield "Metadata all topics, v8", rounds, 3, 8, struct.pack(">i", -1) + b"\x00\x01\x01"
    yield "Metadata 1 topic, v8", rounds, 3, 8, struct.pack(">i", 1) + string("wide") + b"\x00\x00\x00"
    yield "Metadata 1000 missing topics", rounds, 3, 4, struct.pack(">i", 1000) + b"".join(string(f"no-{i}") for i in range(1000)) + b"\x00"
    yield "Fetch v4, empty, no wait", rounds, 1, 4, fetch(4, 0, 0)
    yield "Fetch v4, empty, 20 ms", rounds, 1, 4, fetch(4, 0, 20)
    yield "Produce v7 acks=all, a batch each", rounds, 0, 7, produce(7, -1)
    yield "Produce v7 acks=1, a batch each", rounds, 0, 7, produce(7, 1)
    yield "Fetch v4, with records", rounds, 1, 4, fetch(4, 0, 500)
    yield "Fetch v11, full, new session", rounds, 1, 11, fetch(11, 0, 500, (0, 0))
    yield "Fetch v11, errors (offset out of range)", rounds, 1, 11, fetch(11, 1 << 40, 500)
    yield "ListOffsets latest", rounds, 2, 1, list_offsets(-1)
    yield "ListOffsets earliest", rounds, 2, 1, list_offsets(-2)
    yield "ListOffsets by time", rounds, 2, 1, list_offsets(1)
    yield "ListOffsets greatest time", rounds, 2, 7, flexible_list_offsets(many, -3)
    yield "OffsetForLeaderEpoch", rounds, 23, 2, topic(lambda p: struct.pack(">iii", p, -1, 0))
    yield "OffsetCommit", rounds, 8, 2, group + struct.pack(">i", -1) + string("") + struct.pack(">q", -1) + topic(lambda p: struct.pack(">iq", p, 1) + string(""))
    yield "OffsetFetch by partition", rounds, 9, 2, group + topic(lambda p: struct.pack(">i", p))
    yield "OffsetFetch all", rounds, 9, 2, group + struct.pack(">i", -1)
    yield "OffsetDelete", 3, 47, 0, group + topic(lambda p: struct.pack(">i", p))
    yield "DescribeConfigs 1000 topics", rounds, 32, 1, describe(2, small)
    yield f"DescribeConfigs {partitions} x 1 topic", 5, 32, 1, describe(2, ["wide"] * partitions)
    yield "DescribeLogDirs all", rounds, 35, 1, struct.pack(">i", -1)
    yield "DescribeLogDirs by partition", rounds, 35, 1, topic(lambda p: struct.pack(">i", p))
    yield "DescribeProducers", rounds, 61, 0, flexible_describe_producers(many)
    yield "ElectLeaders", rounds, 43, 0, topic(lambda p: struct.pack(">i", p)) + struct.pack(">i", 60_000)
    yield "DescribeTopicPartitions", rounds, 75, 0, flexible_describe_topic(partitions)
    yield "IncrementalAlterConfigs 1000 topics", 3, 44, 0, struct.pack(">i", len(small)) + b"".join(
        struct.pack(">b", 2) + string(n) + struct.pack(">i", 1) + string("retention.ms") + b"\x00" + string("86400000") for n in small) + b"\x00"
    yield "DeleteRecords", 3, 21, 0, topic(lambda p: struct.pack(">iq", p, -1)) + struct.pack(">i", 60_000)
    yield "CreatePartitions", None, 37, 0, [struct.pack(">i", 1) + string("small-0") + struct.pack(">ii", partitions, -1) + struct.pack(">ib", 60_000, 0)]
    yield "DeleteTopics 1000 topics", None, 20, 1, [drop(small[1:])]
    yield f"DeleteTopics 1 topic x {partitions}", None, 20, 1, [drop(["wide"])]


def uvarint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def compact(text):
    return uvarint(len(text) + 1) + text.encode()


def flexible_list_offsets(many, timestamp):
    partitions = b"".join(struct.pack(">iiq", p, -1, timestamp) + b"\x00" for p in many)
    return b"\x00" + struct.pack(">ib", -1, 0) + uvarint(2) + compact("wide") + uvarint(len(many) + 1) + partitions + b"\x00\x00"


def flexible_describe_producers(many):
    return b"\x00" + uvarint(2) + compact("wide") + uvarint(len(many) + 1) + b"".join(struct.pack(">i", p) for p in many) + b"\x00\x00"


def flexible_describe_topic(partitions):
    return b"\x00" + uvarint(2) + compact("wide") + b"\x00" + struct.pack(">i", partitions) + b"\xff" + b"\x00"


if __name__ == "__main__":
    main()
