#!/usr/bin/env python3
"""Measures what the log promises of reads, restarts and memory, on this machine with a release build.

  cargo build --release -p coreline-broker --bin coreline
  python3 broker/tests/clients/perf/storage.py cold     [--gb 10]           # a reader of everything, from the disk, beside a producer
  python3 broker/tests/clients/perf/storage.py restart  [--gb 10]           # kill -9 under load, then the first accepted produce
  python3 broker/tests/clients/perf/storage.py many     [--partitions 10000] # memory per partition, descriptors, kill -9 and restart

Standard library only; the broker is a child process on free ports with a directory below target/, which is removed. `cold` drops the segments
from the page cache (POSIX_FADV_DONTNEED), so that its reader comes to the disk whatever the memory of the machine.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
import urllib.request

# The broker's only shard runs on the first CPU of this process in `cold`; all that stands for clients runs on the others.
CPUS = sorted(os.sched_getaffinity(0))
# Most that a client takes from its socket in one call.
RECEIVE_BYTES = 64 * 1024
# What issue and design promise of cold reads.
TURN_MS_MAX, PRODUCE_RATIO_MAX = 2.0, 1.3

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../../.."))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cold", "restart", "many"])
    parser.add_argument("--gb", type=float, default=10)
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=0, help="restarts (3 unless told); `cold`: pairs of blocks (20 unless told)")
    parser.add_argument("--block", type=float, default=4.0, help="`cold`: seconds of a block")
    parser.add_argument("--settle", type=float, default=20.0, help="`cold`: seconds between the fill and the first block")
    parser.add_argument("--readers", type=int, default=1, help="cold readers, all from the beginning")
    parser.add_argument("--rate", type=int, default=200, help="produces per second whose latency is measured")
    parser.add_argument("--nofile", type=int, default=4096, help="descriptors of the broker in `many`")
    parser.add_argument("--shards", type=int, default=0, help="0: one in `cold`, else as many as the broker chooses")
    parser.add_argument("--busy", action="store_true", help="`cold`: blocks of a third kind: no reader, but all CPUs kept busy at the lowest priority")
    parser.add_argument("--no-pin", action="store_true", help="`cold`: leave broker and clients on all CPUs")
    parser.add_argument("--coreline", default=os.path.join(TARGET, "release", "coreline"))
    parser.add_argument("--work", default=os.path.join(TARGET, "storage-measure"))
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    args.rounds = args.rounds or (20 if args.what == "cold" else 3)
    shutil.rmtree(args.work, ignore_errors=True)
    os.makedirs(args.work)
    broker = Broker(args)
    try:
        result = {"cold": cold, "restart": restart, "many": many}[args.what](broker, args)
    finally:
        broker.kill()
        shutil.rmtree(args.work, ignore_errors=True)
    print(json.dumps(result))


# What is measured ----------------------------------------------------------------------------------------------------------------


def cold(broker, args):
    """A reader of records from the disk; meanwhile the turns of the shards, their threads' states, and a producer's latency. In short blocks with
    and without the reader, turn about, so that whatever else the device has to do falls on both; the order within a pair changes."""
    if not args.no_pin:
        args.shards = args.shards or 1
        pin_this()
    broker.start()
    create(broker, "cold", 8)
    create(broker, "probe", 4)
    size = fill(broker, "cold", 8, args.gb)
    time.sleep(args.settle)  # the last checkpoint of the fill, and the device with it
    stop, states = multiprocessing.Event(), [0, 0, {}]
    going = [multiprocessing.Event() for _ in range(args.readers)]
    read = [multiprocessing.Value("q", 0) for _ in range(args.readers)]
    readers = [in_process(read_on, broker.port, "cold", 8, *each, stop) for each in zip(going, read)]
    # Sums over the blocks of what the metrics grew by, and each block's latencies: without and with the reader.
    kinds = 3 if args.busy else 2
    metrics, took, dropped = [{} for _ in range(kinds)], [[] for _ in range(kinds)], 0
    for block in range(kinds * args.rounds):
        kind = (block + block // kinds) % kinds
        beside = kind == 1
        dropped = drop_cache(broker.data)
        looking_on = multiprocessing.Event()
        for each in going if beside else []:
            each.set()
        spinning = multiprocessing.Event()
        spinners = [in_process(spin, cpu, spinning) for cpu in CPUS] if kind == 2 else []
        time.sleep(0.2)
        before = broker.metrics()
        looking = in_process(thread_states, broker.process.pid, looking_on) if beside else None
        took[kind].append(in_process(probe, broker.port, args.rate, args.block)())
        grow(metrics[kind], broker.metrics(), before)
        looking_on.set()
        spinning.set()
        for each in spinners:
            each()
        if looking:
            merge_states(states, looking())
        for each in going:
            each.clear()
        time.sleep(0.3)
    stop.set()
    passes = [reader() for reader in readers]
    quiet, busy, seconds = metrics[0], metrics[1], args.rounds * args.block
    turns, own = (bounds(busy, f"coreline_turn_{kind}seconds_bucket") for kind in ("", "own_"))
    in_broker = lambda name, *label: [quantiles(bounds(grown, name, *label)) for grown in metrics]
    ratios = {}
    for name, kind in (("from when it was due", 0), ("from when it was sent", 1)):
        p99 = [[percentiles([sample[kind] for sample in block])[1] for block in blocks] for blocks in took]
        ratios[name] = {
            "alone p50, p99, ms, all blocks": percentiles([sample[kind] for block in took[0] for sample in block]),
            "beside p50, p99, ms, all blocks": percentiles([sample[kind] for block in took[1] for sample in block]),
            "p99 by block, alone": p99[0], "beside": p99[1],
            "median block's p99, alone, beside": [round(statistics.median(each), 3) for each in p99],
            "ratio of the medians, 95 % interval": ratio_of_medians(p99[0], p99[1]),
        }
        if args.busy:
            ratios[name]["busy with nothing"] = p99[2]
            ratios[name]["ratio of busy with nothing to alone"] = ratio_of_medians(p99[0], p99[2])
            ratios[name]["ratio of beside to busy with nothing"] = ratio_of_medians(p99[2], p99[1])
    sent = ratios["from when it was sent"]["ratio of the medians, 95 % interval"]
    turn_met, ratio_met = quantile(turns, 0.999) <= TURN_MS_MAX, sent[0] <= PRODUCE_RATIO_MAX
    result = {
        "GB on disk": round(size / 1e9, 2),
        "blocks of each kind, seconds of one": [args.rounds, args.block],
        "GB dropped from the page cache, each block": round(dropped / 1e9, 2),
        "GB read in all blocks, by reader": [round(each.value / 1e9, 2) for each in read],
        "passes over the data": passes,
        "GB sent": round(total(busy, "coreline_sent_bytes_total") / 1e9, 2),
        "read MB/s": round(total(busy, "coreline_sent_bytes_total") / seconds / 1e6),
        "shard on CPU": "all" if args.no_pin else CPUS[:args.shards],
        "clients on CPUs": "all" if args.no_pin else sorted(os.sched_getaffinity(0)),
        "turns": int(max(turns.values(), default=0)),
        "turn p50, p99, p99.9, p99.99, max, ms, at most": quantiles(turns),
        "the same without the time taken by other threads": quantiles(own),
        "the same without the reader": quantiles(bounds(quiet, "coreline_turn_own_seconds_bucket")),
        "turns of 2 ms and more, of these without the time taken by others": [total(busy, "coreline_stalls_total"), total(busy, "coreline_own_stalls_total")],
        "steps that waited for the disk": total(busy, "coreline_read_waits_total"),
        "GB read ahead": round(total(busy, "coreline_read_ahead_bytes_total") / 1e9, 2),
        "shard threads seen waiting in the kernel, of looks, and where": states,
        "a produce in the broker, p50, p99, p99.9, p99.99, max, ms, at most: alone, beside": in_broker("coreline_request_seconds_bucket", 'api="Produce"'),
        "of it the journal's writes": in_broker("coreline_journal_write_seconds_bucket"),
        "of it the journal's queue": in_broker("coreline_journal_queue_seconds_bucket"),
        "a produce at the client": ratios,
        f"bound: a turn's p99.9 at most {TURN_MS_MAX:g} ms by the wall": "met" if turn_met else "NOT MET",
        f"bound: produce p99 beside the reader at most {PRODUCE_RATIO_MAX:g} times that alone": "met" if ratio_met else "NOT MET",
    }
    show(result)
    return result


def ratio_of_medians(alone, beside):
    """Beside over alone, and the middle 95 % of what 10,000 resamplings of the blocks give."""
    draw = random.Random(1)
    ratio = lambda a, b: statistics.median(b) / statistics.median(a)
    again = sorted(ratio(draw.choices(alone, k=len(alone)), draw.choices(beside, k=len(beside))) for _ in range(10_000))
    return [round(ratio(alone, beside), 2), [round(again[250], 2), round(again[9750], 2)]]


def grow(sums, after, before):
    for series, value in after.items():
        sums[series] = sums.get(series, 0) + value - before.get(series, 0)


def merge_states(sums, seen):
    sums[0] += seen[0]
    sums[1] += seen[1]
    for place, count in seen[2]:
        sums[2][place] = sums[2].get(place, 0) + count


def restart(broker, args):
    """Kill -9 under load with data on the disk; milliseconds to the first accepted produce."""
    broker.start()
    create(broker, "filled", 8)
    size = fill(broker, "filled", 8, args.gb)
    times = []
    for _ in range(args.rounds):
        load = multiprocessing.Process(target=fill_quietly, args=(broker.port, "filled", 8))
        load.start()
        time.sleep(3)
        broker.kill()
        load.join()
        times.append(round(broker.start()))
    result = {"GB on disk": round(size / 1e9, 2), "kill -9 to the first accepted produce, ms": times, "recovered": broker.recovered()}
    show(result)
    return result


def many(broker, args):
    """Memory of idle partitions, descriptors, and a restart with many partitions."""
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (args.nofile, args.nofile))

    broker.start(preexec=limit)
    time.sleep(2)
    before = broker.memory()
    per_topic = 1000
    topics = [f"many-{i}" for i in range((args.partitions + per_topic - 1) // per_topic)]
    start = time.monotonic()
    for topic in topics:
        create(broker, topic, per_topic)
    created = time.monotonic() - start
    time.sleep(5)
    empty = broker.memory()
    batch = record_batch([b"x" * 100] * 10)
    with connect(broker.port) as stream:
        for topic in topics:
            for from_partition in range(0, per_topic, 100):
                produce(stream, topic, {p: batch for p in range(from_partition, from_partition + 100)})
    time.sleep(10)  # checkpoints; then they are idle
    idle = broker.memory()
    metrics = broker.metrics()
    count = len(topics) * per_topic
    stopped = []
    for _ in range(args.rounds):
        with connect(broker.port) as stream:
            for topic in topics:
                produce(stream, topic, {p: batch for p in range(0, per_topic, 10)})
        broker.kill()
        stopped.append(round(broker.start(preexec=limit)))
    after = broker.metrics()
    result = {
        "partitions": count,
        "created in, s": round(created, 1),
        "bytes per empty partition": round((empty - before) / count),
        "bytes per idle partition with records": round((idle - before) / count),
        "bytes of journal and tails of that": round((total(metrics, "coreline_tail_memory_bytes")) / count),
        "descriptors allowed": args.nofile,
        "descriptors open": int(metrics["process_open_fds"]),
        "segment files open": int(total(metrics, "coreline_open_segment_files")),
        "longest turn after the start, ms": max(v for k, v in after.items() if k.startswith("coreline_longest_turn_microseconds")) / 1e3,
        "kill -9 to the first accepted produce, ms": stopped,
        "recovered": broker.recovered(),
    }
    show(result)
    return result


def show(result):
    for key, value in result.items():
        print(f"{key}: {value}", flush=True)


# The broker ----------------------------------------------------------------------------------------------------------------------


class Broker:
    def __init__(self, args):
        self.args = args
        self.data = os.path.join(args.work, "data")
        self.log_path = os.path.join(args.work, "log")
        self.port, self.admin = free_port(), free_port()
        self.process = None

    def start(self, preexec=None):
        """Milliseconds from the start of the process to the acknowledgement of a produce with acks=all."""
        command = [self.args.coreline, "serve", "--data-dir", self.data, "--listen", f"127.0.0.1:{self.port}",
                   "--admin-listen", f"127.0.0.1:{self.admin}"]
        command += ["--shards", str(self.args.shards)] if self.args.shards else []
        for setting in self.args.set:
            command += ["--set", setting]
        environment = dict(os.environ, NO_COLOR="1")
        with open(self.log_path, "ab") as log:
            start = time.monotonic()
            # Whatever this process keeps to: the broker sees all CPUs, and its first shard takes the first of them.
            def begin():
                os.sched_setaffinity(0, CPUS)
                if preexec:
                    preexec()

            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=begin, env=environment)
        while not accepted(self.port):
            if self.process.poll() is not None or time.monotonic() - start > 120:
                with open(self.log_path, encoding="utf-8", errors="replace") as log:
                    sys.exit(f"the broker does not serve, status {self.process.returncode}:\n{log.read()[-3000:]}")
            time.sleep(0.001)
        return (time.monotonic() - start) * 1000

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}

    def memory(self):
        return self.metrics()["process_resident_memory_bytes"]

    def recovered(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            found = [line for line in log if "recovered from the journals" in line]
        return found[-1].split("recovered", 1)[1].strip() if found else None


def total(metrics, name):
    return sum(value for series, value in metrics.items() if series.split("{")[0] == name)


def bounds(metrics, name, label=""):
    """Cumulative counts by upper bound in seconds, of all shards together."""
    found = {}
    for series, value in metrics.items():
        if series.startswith(name) and label in series:
            bound = re.search(r'le="([^"]+)"', series).group(1)
            bound = float("inf") if bound == "+Inf" else float(bound)
            found[bound] = found.get(bound, 0) + value
    return found


def quantile(bounds, q):
    """Upper bound, milliseconds, of the bucket that holds the quantile."""
    everything = max(bounds.values(), default=0)
    return next((bound * 1e3 for bound in sorted(bounds) if bounds[bound] >= q * everything), float("inf"))


def quantiles(bounds):
    return [float(f"{quantile(bounds, q):g}") for q in (0.5, 0.99, 0.999, 0.9999, 1)]


def drop_cache(folder):
    size = 0
    for path, _, files in os.walk(folder):
        for name in files:
            if name.endswith(".log"):
                fd = os.open(os.path.join(path, name), os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                size += os.fstat(fd).st_size
                os.close(fd)
    return size


def pin_this():
    """Takes this process, and what it starts from now on, off the first CPU; where there is only one, it stays."""
    os.sched_setaffinity(0, CPUS[1:] or CPUS)


# What runs beside: each in a process of its own ----------------------------------------------------------------------------------


def in_process(function, *arguments):
    """Starts it; the answer waits for its result."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=lambda: sender.send(function(*arguments)))
    process.start()

    def result():
        value = receiver.recv()
        process.join()
        return value

    return result


def probe(port, rate, seconds):
    """Milliseconds of single records with acks=all, one after the other: each from when it was due and from when it was sent. Goes before the
    other clients where it may."""
    batch = record_batch([b"p" * 1000])
    took = []
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        pass
    with connect(port) as stream:
        due = time.monotonic()
        end = due + seconds
        while due < end:
            due += 1 / rate
            time.sleep(max(0, due - time.monotonic()))
            sent = time.monotonic()
            produce(stream, "probe", {len(took) % 4: batch})
            done = time.monotonic()
            took.append(((done - due) * 1000, (done - sent) * 1000))
    return took


def spin(cpu, stop):
    """Keeps a CPU busy whenever nobody else wants it."""
    os.sched_setaffinity(0, [cpu])
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while not stop.is_set():
        for _ in range(1000):
            pass


def percentiles(took):
    cuts = statistics.quantiles(took, n=100)
    return [round(cuts[49], 3), round(cuts[98], 3)]


def thread_states(pid, stop):
    """How often a shard's thread was seen waiting in the kernel for a disk or a lock (state D), in which calls, and how often it was looked at."""
    waiting = looks = 0
    where = {}
    shards = []
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm", encoding="utf-8") as comm:
            named = re.match(r"shard(-\d+)?$", comm.read().strip())
        with open(f"/proc/{pid}/task/{tid}/status", encoding="utf-8") as status:
            # The threads of its blocking pool have a shard's name too, but are not pinned.
            pinned = re.search(r"^Cpus_allowed_list:\s*\d+$", status.read(), re.MULTILINE)
        if named and pinned:
            shards.append(f"/proc/{pid}/task/{tid}")
    while not stop.is_set():
        for path in shards:
            looks += 1
            with open(f"{path}/stat", encoding="utf-8") as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] != "D":
                    continue
            waiting += 1
            try:  # only root may look
                with open(f"{path}/stack", encoding="utf-8") as stack:
                    calls = [line.split()[1].split("+")[0] for line in stack.read().splitlines() if "+" in line]
            except OSError:
                calls = []
            place = " < ".join(calls[:12])
            where[place] = where.get(place, 0) + 1
        time.sleep(0.002)
    return [waiting, looks, sorted(where.items(), key=lambda item: -item[1])[:8]]


def read_on(port, topic, partitions, going, size, stop):
    """Reads every partition from the beginning to the end while `going` is set, again and again, and counts the bytes; answers with the passes."""
    offsets, passes = {}, 0
    # It stands for a client on another machine: it must not keep a CPU from the threads of the kernel that complete the broker's writes.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with connect(port) as stream:
        while not stop.is_set():
            if not going.wait(0.1):
                continue
            if not offsets:
                offsets, passes = dict.fromkeys(range(partitions), 0), passes + 1
            body = struct.pack(">iiiib", -1, 500, 1, 16 << 20, 0) + struct.pack(">i", 1) + string(topic) + struct.pack(">i", len(offsets))
            # Those read last go last, so that all move on.
            for partition, offset in offsets.items():
                body += struct.pack(">iqi", partition, offset, 2 << 20)
            answer = ask(stream, 1, 4, body)
            at = 4 + 4 + 2 + len(topic)
            (count,) = struct.unpack_from(">i", answer, at)
            at += 4
            for _ in range(count):
                partition, error, high_watermark, _, aborted = struct.unpack_from(">ihqqi", answer, at)
                at += 26 + 16 * max(0, aborted)
                (length,) = struct.unpack_from(">i", answer, at)
                at += 4
                if error:
                    sys.exit(f"fetch answered with error {error}")
                end, offset = at + max(0, length), offsets[partition]
                while at + 61 <= end:
                    base, batch_length = struct.unpack_from(">qi", answer, at)
                    if at + 12 + batch_length > end:
                        break
                    offset = base + struct.unpack_from(">i", answer, at + 23)[0] + 1
                    size.value += 12 + batch_length
                    at += 12 + batch_length
                at = end
                if offset > offsets[partition]:
                    del offsets[partition]
                    offsets[partition] = offset
                if offset >= high_watermark:
                    del offsets[partition]
    return passes


def fill_quietly(port, topic, partitions):
    batch = record_batch([os.urandom(1024)] * 900)
    try:
        with connect(port) as stream:
            while True:
                produce(stream, topic, {p: batch for p in range(partitions)})
    except (OSError, struct.error):
        pass


# The protocol, in raw bytes ------------------------------------------------------------------------------------------------------


def fill(broker, topic, partitions, gigabytes):
    batch = record_batch([os.urandom(1024)] * 900)
    size = 0
    with connect(broker.port) as stream:
        while size < gigabytes * 1e9:
            produce(stream, topic, {p: batch for p in range(partitions)})
            size += partitions * len(batch)
    return size


def create(broker, topic, partitions):
    body = struct.pack(">i", 1) + string(topic) + struct.pack(">ihii", partitions, 1, 0, 0) + struct.pack(">ib", 60_000, 0)
    with connect(broker.port) as stream:
        answer = ask(stream, 19, 2, body)
    (code,) = struct.unpack_from(">h", answer, 4 + 4 + 2 + len(topic))
    if code:
        sys.exit(f"the topic {topic} is not created: error {code}")


def produce(stream, topic, batches):
    """One Produce v7 with acks=all; all partitions must take their batch."""
    body = b"".join(struct.pack(">ii", partition, len(batch)) + batch for partition, batch in batches.items())
    head = struct.pack(">hhi", -1, -1, 60_000) + struct.pack(">i", 1) + string(topic) + struct.pack(">i", len(batches))
    answer = ask(stream, 0, 7, head + body)
    at = 4 + 2 + len(topic) + 4
    for _ in batches:
        partition, code = struct.unpack_from(">ih", answer, at)
        if code:
            sys.exit(f"produce to {topic}-{partition} answered with error {code}")
        at += 4 + 2 + 8 + 8 + 8


def accepted(port):
    """Whether a record of a topic of its own is accepted."""
    topic = string("first")
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as stream:
            ask(stream, 3, 4, struct.pack(">i", 1) + topic + b"\x01")
            batch = record_batch([b"first"])
            body = struct.pack(">hhi", -1, -1, 10_000) + struct.pack(">i", 1) + topic + struct.pack(">iii", 1, 0, len(batch)) + batch
            answer = ask(stream, 0, 7, body)
            return struct.unpack_from(">h", answer, 4 + len(topic) + 4 + 4)[0] == 0
    except (OSError, struct.error):
        return False


def connect(port):
    stream = socket.create_connection(("127.0.0.1", port), timeout=120)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def ask(stream, key, version, body):
    request = struct.pack(">hhi", key, version, 1) + string("perf") + body
    stream.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", receive(stream, 4))
    return receive(stream, size)[4:]


def receive(stream, size):
    answer = bytearray(size)
    view, have = memoryview(answer), 0
    while have < size:
        # In short calls: a long one would keep the CPU inside the kernel, and what completes the broker's writes waiting for it.
        part = stream.recv_into(view[have:have + RECEIVE_BYTES])
        if not part:
            raise OSError("the connection was closed")
        have += part
    return answer


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def varint(number):
    number = number << 1 ^ number >> 63
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def record_batch(values):
    records = b""
    for delta, value in enumerate(values):
        record = b"\x00\x00" + varint(delta) + b"\x01" + varint(len(value)) + value + b"\x00"
        records += varint(len(record)) + record
    now = int(time.time() * 1000)
    checked = struct.pack(">hiqqqhii", 0, len(values) - 1, now, now, -1, -1, -1, len(values)) + records
    return struct.pack(">qiibI", 0, 4 + 1 + 4 + len(checked), -1, 2, crc32c(checked)) + checked


def crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


CRC_TABLE = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main()
