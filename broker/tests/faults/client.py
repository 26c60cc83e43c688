"""An idempotent producer that remembers what was acknowledged where, and a reader that holds the log against it, byte for byte.

Raw protocol, standard library only. One record to a batch; its sequence is its number, so that each batch of the log says which one it should be.
"""

import os
import random
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../clients/perf"))
from storage import ask, crc32c, string, varint  # noqa: E402

# A broker that does not answer for so long hangs, seconds.
HANGS_AFTER = 60
# Errors after which a client sends the same batch again.
STORAGE_ERROR, RETRIED = 56, {3, 5, 6, 7, 8, 13, 14, 19, 20, 56}
DUPLICATE_SEQUENCE = 46


class Wrong(Exception):
    """What must not happen."""


def connect(port):
    stream = socket.create_connection(("127.0.0.1", port), timeout=HANGS_AFTER)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def request(stream, key, version, body):
    try:
        return ask(stream, key, version, body)
    except TimeoutError:
        raise Wrong(f"HANGS: no answer to request {key} within {HANGS_AFTER} s") from None


# Batches ---------------------------------------------------------------------------------------------------------------------------


def shifted(length):
    """The checksum's matrix of `length` zero bytes: what a checksum becomes when so many bytes follow."""
    def times(matrix, vector):
        product, bit = 0, 0
        while vector:
            if vector & 1:
                product ^= matrix[bit]
            vector >>= 1
            bit += 1
        return product

    operator = [0x82F63B78] + [1 << n for n in range(31)]
    result = [1 << n for n in range(32)]
    bits = length * 8
    while bits:
        if bits & 1:
            result = [times(operator, column) for column in result]
        operator = [times(operator, column) for column in operator]
        bits >>= 1
    return lambda crc: times(result, crc)


class Batches:
    """The batches of one partition: any one can be made again from its number."""

    SIZES = (250, 4_000, 60_000, 250_000)
    ends = {}

    def __init__(self, partition, producer_id):
        self.partition, self.producer_id = partition, producer_id

    def number(self, n):
        size = self.SIZES[(n * 7 + n // 5 + self.partition) % len(self.SIZES)]
        if size not in self.ends:
            end = random.Random(size).randbytes(size) + b"\0"
            self.ends[size] = end, crc32c(end), shifted(len(end))
        end, end_crc, shift = self.ends[size]
        unique = b"%08x%08x" % (self.partition, n)
        value_length = varint(len(unique) + size)
        record = b"\0\0\0\x01" + value_length + unique
        time = 1_700_000_000_000 + n
        head = struct.pack(">hiqqqhii", 0, 0, time, time, self.producer_id, 0, n, 1) + varint(len(record) + len(end)) + record
        crc = shift(crc32c(head)) ^ end_crc
        return struct.pack(">qiibI", 0, 4 + 1 + 4 + len(head) + len(end), -1, 2, crc) + head + end


class Ledger:
    """A topic, what was sent to it, and what of that was acknowledged."""

    def __init__(self, port, topic, partitions=4, configs=()):
        self.topic, self.partitions = topic, range(partitions)
        with connect(port) as stream:
            settings = struct.pack(">i", len(configs)) + b"".join(string(key) + string(value) for key, value in configs)
            body = struct.pack(">i", 1) + string(topic) + struct.pack(">ihi", partitions, 1, 0) + settings + struct.pack(">ib", 60_000, 0)
            (code,) = struct.unpack_from(">h", request(stream, 19, 2, body), 4 + 4 + 2 + len(topic))
            if code:
                raise Wrong(f"the topic {topic} is not created: error {code}")
            code, self.producer_id = struct.unpack_from(">hq", request(stream, 22, 0, struct.pack(">hi", -1, 1000)), 4)
            if code:
                raise Wrong(f"no producer id: error {code}")
        self.batches = [Batches(p, self.producer_id) for p in self.partitions]
        # By partition: offsets of batches 0, 1, ... (-1: acknowledged as a repetition, place unknown); the next one may have been sent.
        self.acked = [[] for _ in self.partitions]

    def acknowledged(self):
        return sum(len(offsets) for offsets in self.acked)

    def send(self, stream):
        """The next batch to each partition, or the same as before where that was not acknowledged. The errors that came back, by partition."""
        body = b""
        for p in self.partitions:
            batch = self.batches[p].number(len(self.acked[p]))
            body += struct.pack(">ii", p, len(batch)) + batch
        head = struct.pack(">hhi", -1, -1, 60_000) + struct.pack(">i", 1) + string(self.topic) + struct.pack(">i", len(self.partitions))
        answer = request(stream, 0, 7, head + body)
        at, errors = 4 + 2 + len(self.topic) + 4, {}
        for _ in self.partitions:
            partition, code, offset = struct.unpack_from(">ihq", answer, at)
            at += 4 + 2 + 8 + 8 + 8
            if code in (0, DUPLICATE_SEQUENCE):
                self.acked[partition].append(offset if code == 0 else -1)
            elif code in RETRIED:
                errors[partition] = code
            else:
                raise Wrong(f"LOST? batch {len(self.acked[partition])} of {self.topic}-{partition} is answered with error {code}")
        return errors

    def verify(self, port, unreadable=None):
        """Reads everything. Where `unreadable` is a dict, partitions may answer with errors, which it gets, but never with other bytes.

        The number of batches read.
        """
        read = 0
        with connect(port) as stream:
            for p in self.partitions:
                read += self.verify_partition(stream, p, unreadable)
        return read

    def verify_partition(self, stream, partition, unreadable):
        name, acked = f"{self.topic}-{partition}", self.acked[partition]
        offset, number, read = 0, 0, 0
        while True:
            code, high_watermark, records = self.fetch(stream, partition, offset)
            if code and unreadable is not None:
                unreadable.setdefault(name, (code, offset))
                # What lies behind: some of it, until the end.
                later = [n for n in range(number + 1, len(acked)) if acked[n] > offset]
                if not later:
                    return read
                number = later[min(len(later) - 1, len(later) // 8)]
                offset = acked[number]
                continue
            if code:
                raise Wrong(f"LOST: fetch of {name} at {offset} is answered with error {code}")
            took, at = 0, 0
            while at + 61 <= len(records):
                base, length = struct.unpack_from(">qi", records, at)
                if at + 12 + length > len(records):
                    break
                found = records[at:at + 12 + length]
                if base >= offset:
                    self.check(name, partition, number, base, found)
                    number, took, offset = number + 1, took + 1, base + 1
                at += 12 + length
            read += took
            if offset >= high_watermark:
                break
            if not took:
                raise Wrong(f"HANGS: fetch of {name} at {offset} of {high_watermark} gives no batch")
        if number < len(acked):
            raise Wrong(f"LOST: {name} ends before batch {number}, {len(acked)} were acknowledged, the log ends at {high_watermark}")
        if number > len(acked) + 1:
            raise Wrong(f"DOUBLED: {name} has {number} batches, {len(acked)} were acknowledged and at most one more was sent")
        return read

    def check(self, name, partition, number, base, found):
        expected = self.batches[partition].number(number)
        # Behind base offset, length and leader epoch, which the broker writes.
        if found[16:] != expected[16:] or len(found) != len(expected):
            sequence = struct.unpack_from(">i", found, 53)[0]
            if found[16:] == self.batches[partition].number(max(sequence, 0))[16:]:
                what = "DOUBLED" if sequence < number else "LOST"
                raise Wrong(f"{what}: {name} has batch {sequence} at offset {base}, where {number} was next")
            raise Wrong(f"DAMAGED: {name} at offset {base} is not batch {number}")
        acked = self.acked[partition]
        if number < len(acked) and acked[number] not in (-1, base):
            raise Wrong(f"MOVED: batch {number} of {name} was acknowledged at {acked[number]} and is at {base}")

    def fetch(self, stream, partition, offset):
        body = struct.pack(">iiiib", -1, 500, 1, 8 << 20, 0) + struct.pack(">i", 1) + string(self.topic)
        body += struct.pack(">iiqi", 1, partition, offset, 8 << 20)
        answer = request(stream, 1, 4, body)
        at = 4 + 4 + 2 + len(self.topic) + 4
        _, code, high_watermark, _, aborted = struct.unpack_from(">ihqqi", answer, at)
        at += 26 + 16 * max(0, aborted)
        (length,) = struct.unpack_from(">i", answer, at)
        return code, high_watermark, bytes(answer[at + 4:at + 4 + max(0, length)])
