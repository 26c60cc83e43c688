"""Runs the comparison that run.sh describes; standard library only, brokers and load generator are child processes."""

import argparse
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import time

TOPIC = "perf"
RECORD_BYTES = 1024
CRC32C_POLYNOMIAL = 0x82F63B78
FORMAT_ID = "MkU3OEVBNTcwNTJENDM2Qg"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--libs", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--coreline", required=True)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--acks", default="1")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--shards", type=int)
    parser.add_argument("--idle-seconds", type=float, default=10)
    parser.add_argument("--only", choices=["coreline", "kafka"])
    args = parser.parse_args()
    targets = [target for target in (Coreline, Kafka) if args.only in (None, target.name)]
    results = {target.name: [] for target in targets}
    for number in range(args.rounds):
        for target in targets if number % 2 == 0 else targets[::-1]:
            result = measure(target(args), args)
            results[target.name].append(result)
            print(f"round {number + 1} {target.name}: " + ", ".join(f"{key} {value:.2f}" for key, value in result.items()), flush=True)
    report(results)


def measure(broker, args):
    """One broker from an empty data directory to its end; every figure of the table."""
    result = {}
    try:
        result["first start to acked produce, ms"] = broker.start(first=True)
        time.sleep(3)  # what follows a start (class loading, first checkpoints) is no idling
        before, start = broker.cpu_seconds(), time.monotonic()
        time.sleep(args.idle_seconds)
        result["idle CPU, % of a core"] = 100 * (broker.cpu_seconds() - before) / (time.monotonic() - start)
        result["idle RSS, MB"] = broker.rss_mb()
        before = broker.cpu_seconds()
        result["MB/s"] = load(broker, args)
        gigabytes = args.records * RECORD_BYTES / 1e9
        time.sleep(1)  # what the broker still writes belongs to the load
        result["broker CPU-s per GB"] = (broker.cpu_seconds() - before) / gigabytes
        result["RSS after load, MB"] = broker.rss_mb()
        stop = time.monotonic()
        broker.stop()
        result["SIGTERM to end, ms"] = (time.monotonic() - stop) * 1000
        result["restart to acked produce, ms"] = broker.start(first=False)
    finally:
        broker.clear()
    return result


def load(broker, args):
    """kafka-producer-perf-test; the throughput that it reports."""
    command = ["java", "-Xmx512m", "-cp", f"{args.libs}/*", "org.apache.kafka.tools.ProducerPerformance", "--topic", TOPIC,
               "--num-records", str(args.records), "--record-size", str(RECORD_BYTES), "--throughput", "-1", "--producer-props",
               f"bootstrap.servers=127.0.0.1:{broker.port}", f"acks={args.acks}", "batch.size=65536", "linger.ms=5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + args.records / 2000, check=False)
    summary = [line for line in done.stdout.splitlines() if "99.9th" in line]
    if done.returncode != 0 or not summary or "exception" in done.stdout.lower():
        raise RuntimeError(f"producer: status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    print(f"  {broker.name}: {summary[-1]}", flush=True)
    return float(summary[-1].split("(")[1].split(" MB/sec")[0]) * 1.048576


def report(results):
    print("\n| figure (median) | " + " | ".join(results) + (" | ratio |" if len(results) == 2 else " |"))
    print("|---|" + "--:|" * (len(results) + (len(results) == 2)))
    for key in next(iter(results.values()))[0]:
        medians = [statistics.median(one[key] for one in rounds) for rounds in results.values()]
        ratio = f" {medians[0] / medians[1]:.3f} |" if len(medians) == 2 and medians[1] else ""
        print(f"| {key} | " + " | ".join(f"{median:.2f}" for median in medians) + " |" + ratio)


class Broker:
    def __init__(self, args):
        self.args, self.process = args, None
        self.port, self.second_port = free_port(), free_port()
        self.folder = os.path.join(args.work, f"{self.name}-{os.getpid()}")
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)

    def start(self, first):
        """Milliseconds from the start of the process to the acknowledgement of a produce with acks=all."""
        command = self.command(first)
        with open(os.path.join(self.folder, "log"), "ab") as log:
            start = time.monotonic()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not acknowledged_produce(self.port):
            if self.process.poll() is not None or time.monotonic() - start > 120:
                raise RuntimeError(f"{self.name} does not serve, status {self.process.returncode}: {self.log()}")
            time.sleep(0.001)
        return (time.monotonic() - start) * 1000

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            kilobytes = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        return kilobytes * 1024 / 1e6

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:]

    def clear(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Coreline(Broker):
    name = "coreline"

    def command(self, _first):
        command = [self.args.coreline, "serve", "--data-dir", os.path.join(self.folder, "data"), "--listen", f"127.0.0.1:{self.port}",
                   "--admin-listen", f"127.0.0.1:{self.second_port}", "--set", f"num.partitions={self.args.partitions}"]
        return command + (["--shards", str(self.args.shards)] if self.args.shards else [])


class Kafka(Broker):
    name = "kafka"

    def command(self, first):
        properties = os.path.join(self.folder, "server.properties")
        classes = ["-cp", f"{self.args.libs}/*"]
        if first:
            lines = ["process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{self.second_port}",
                     f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.second_port}",
                     f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}", "controller.listener.names=CONTROLLER",
                     f"log.dirs={self.folder}/data", f"num.partitions={self.args.partitions}", "offsets.topic.replication.factor=1",
                     "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
                     "share.coordinator.state.topic.replication.factor=1", "share.coordinator.state.topic.min.isr=1"]
            with open(properties, "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
            subprocess.run(["java", *classes, "kafka.tools.StorageTool", "format", "-t", FORMAT_ID, "-c", properties],
                           check=True, capture_output=True, timeout=60)
        return ["java", "-Xmx4g", "-Xms1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", *classes,
                "kafka.Kafka", properties]


# One produce in raw bytes, so that no client's own start is measured -------------------------------------------------------------


def acknowledged_produce(port):
    """Whether a record was acknowledged: Metadata v4 (creates the topic), then Produce v7 with acks=-1 to partition 0."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
            topic = string(TOPIC)
            ask(stream, 3, 4, struct.pack(">i", 1) + topic + b"\x01")
            batch = record_batch(b"first")
            body = struct.pack(">hhi", -1, -1, 10_000) + struct.pack(">i", 1) + topic + struct.pack(">iii", 1, 0, len(batch)) + batch
            answer = ask(stream, 0, 7, body)
            # One topic, its name, one partition, its index, then the error code.
            return struct.unpack_from(">h", answer, 4 + len(topic) + 4 + 4)[0] == 0
    except (OSError, struct.error):
        return False


def ask(stream, key, version, body):
    request = struct.pack(">hhi", key, version, 1) + string("perf") + body
    stream.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", receive(stream, 4))
    return receive(stream, size)[4:]


def receive(stream, size):
    answer = b""
    while len(answer) < size:
        part = stream.recv(size - len(answer))
        if not part:
            raise OSError("the connection was closed")
        answer += part
    return answer


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def record_batch(value):
    # Record: attributes, timestamp delta, offset delta, null key, value, no headers; lengths are zig-zag varints below 64.
    record = bytes([0, 0, 0, 1, 2 * len(value)]) + value + b"\x00"
    records = bytes([2 * len(record)]) + record
    now = int(time.time() * 1000)
    checked = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + records
    return struct.pack(">qiibI", 0, 4 + 1 + 4 + len(checked), -1, 2, crc32c(checked)) + checked


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (CRC32C_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
