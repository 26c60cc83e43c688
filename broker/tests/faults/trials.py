#!/usr/bin/env python3
"""The trials of run.sh, which gives them a namespace of their own: WORK [--rounds N] [--seed N] [full|read|write]..."""

import argparse
import collections
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
import traceback

from client import STORAGE_ERROR, Ledger, Wrong, connect, request, string
from disk import MIB, Disk

CORELINE = os.path.realpath(os.environ.get("CORELINE", "target/debug/coreline"))
# Seconds.
STARTS_WITHIN, STOPS_WITHIN, ENDS_WITHIN, RESUMES_WITHIN, READ_WITHIN, REFUSES_FOR, PAUSE = 60, 60, 10, 30, 30, 8, 0.05


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work")
    parser.add_argument("trials", nargs="*", default=[], metavar="full|read|write")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next ones count on")
    args = parser.parse_intermixed_args()
    trials = {"full": full, "read": read_error, "write": write_error}
    if set(args.trials) - set(trials):
        parser.error("full, read or write")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    failures, outcomes = [], {name: collections.Counter() for name in args.trials or trials}
    sums = {name: collections.Counter() for name in outcomes}
    began = time.monotonic()
    for seed in range(args.seed, args.seed + args.rounds):
        for name in outcomes:
            start, note = time.monotonic(), Note(verbose=args.rounds == 1)
            try:
                outcome = run_one(trials[name], args.work, seed, note)
            except Wrong as wrong:
                outcome = f"FAILED: {wrong}"
            except Exception:  # noqa: BLE001: the trial itself is broken; told, counted, and the next one goes on
                outcome = f"FAILED: {traceback.format_exc()}"
            outcomes[name][outcome.split(":")[0]] += 1
            sums[name].update(note.counts)
            if outcome.startswith("FAILED"):
                failures.append(f"{name} {seed}")
                print("\n".join(note.lines), f"\nagain: broker/tests/faults/run.sh --seed {seed} {name}", flush=True)
            print(f"{name} {seed}: {outcome}, {time.monotonic() - start:.1f} s", flush=True)
    print(f"== {args.rounds} rounds from seed {args.seed} on in {time.monotonic() - began:.0f} s")
    for name, counted in outcomes.items():
        print(f"{name}: " + ", ".join(f"{count} x {outcome}" for outcome, count in sorted(counted.items())))
        print("    " + ", ".join(f"{key} {value:g}" for key, value in sums[name].items()))
    print(f"FAILED: {', '.join(failures)}" if failures else "nothing acknowledged was lost, doubled or damaged, and nothing hung")
    sys.exit(bool(failures))


def run_one(trial, work, seed, note):
    broker = Broker(work, note)
    try:
        outcome = trial(broker, random.Random(f"{trial.__name__} {seed}"), note)
        broker.kill()
        return outcome
    except OSError as error:
        if broker.process is None or broker.alive():
            raise
        raise Wrong(f"DIED: {error}, status {broker.process.returncode}: {broker.said()[-2500:]}") from None
    finally:
        broker.kill()
        if broker.disk:
            broker.disk.remove()


class Note:
    """What a trial has seen: lines, printed at once or when it fails, and figures that are added up."""

    def __init__(self, verbose):
        self.verbose, self.lines, self.counts = verbose, [], collections.Counter()

    def __call__(self, line):
        self.lines.append(f"    {line}")
        if self.verbose:
            print(f"    {line}", flush=True)


class Broker:
    def __init__(self, work, note):
        self.work, self.note, self.disk, self.process = work, note, None, None
        self.settings, self.shards, self.starts = [], 1, 0
        self.log = os.path.join(work, "log")

    def start(self):
        """True when it serves; False when it has refused, by a sentence."""
        self.starts += 1
        self.log = os.path.join(self.work, f"log-{self.starts}")
        command = [CORELINE, "serve", "--shards", str(self.shards), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
                   "--data-dir", os.path.join(self.disk.mount, "data")]
        for setting in ["group.initial.rebalance.delay.ms=0", *self.settings]:
            command += ["--set", setting]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ, NO_COLOR="1"))
        until = time.monotonic() + STARTS_WITHIN
        while " ready" not in self.said():
            if self.process.poll() is not None:
                return self.refused()
            if time.monotonic() > until:
                raise Wrong(f"HANGS: not ready within {STARTS_WITHIN} s: {self.said()[-500:]}")
            time.sleep(0.01)
        self.port = int(re.search(r"listening on [0-9.]+:(\d+)", self.said()).group(1))
        self.admin = int(re.search(r"admin on http://[0-9.]+:(\d+)", self.said()).group(1))
        return True

    def refused(self):
        if self.process.returncode <= 0 or not self.sentence():
            raise Wrong(f"DIED: status {self.process.returncode}: {self.said()[-1500:]}")
        return False

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            said = log.read()
        if "panicked" in said:
            raise Wrong(f"PANIC: {said[said.index('panicked') - 200:][:1500]}")
        return said

    def sentence(self):
        found = [line for line in self.said().splitlines() if line.startswith("coreline: ")]
        return found[0] if found else ""

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """A clean end."""
        self.process.terminate()
        try:
            self.process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            raise Wrong(f"HANGS: does not stop within {STOPS_WITHIN} s: {self.said()[-500:]}") from None
        if self.process.returncode:
            raise Wrong(f"the stop ends with status {self.process.returncode}: {self.said()[-800:]}")

    def ends(self):
        """Seconds until the process has ended, with a sentence and a status that says so."""
        began = time.monotonic()
        try:
            self.process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            raise Wrong(f"goes on after a write error: {self.said()[-800:]}") from None
        self.refused()
        return time.monotonic() - began

    def sound(self):
        done = subprocess.run([CORELINE, "log", "verify", os.path.join(self.disk.mount, "data")], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Wrong(f"DAMAGED: log verify: {done.stdout[-1500:]}{done.stderr[-500:]}")
        self.note("log verify: " + done.stdout.strip().splitlines()[-2])


def small(dice):
    """Settings with which a few MiB go through everything there is."""
    return ["journal.file.bytes=4194304", "journal.max.bytes=16777216", "log.segment.bytes=8388608", "tail.memory.bytes=8388608",
            f"journal.sync.mode={dice.choice(['fua', 'flush'])}"]


def send(ledger, stream, times=1):
    """Sends until an error; the errors."""
    for _ in range(times):
        errors = ledger.send(stream)
        if errors:
            return errors
    return {}


def group_goes_on(broker, ledger):
    """A group commits an offset and reads it back."""
    with connect(broker.port) as stream:
        commit = string("group") + struct.pack(">i", -1) + string("") + struct.pack(">q", -1) + struct.pack(">i", 1) + string(ledger.topic)
        commit += struct.pack(">iiq", 1, 0, 7) + string("")
        until = time.monotonic() + 30
        while True:
            code = struct.unpack_from(">h", request(stream, 10, 0, string("group")))[0]
            code = code or struct.unpack(">h", request(stream, 8, 2, commit)[-2:])[0]
            if not code:
                break
            if time.monotonic() > until:
                raise Wrong(f"a group does not go on: error {code}")
            time.sleep(0.1)
        body = string("group") + struct.pack(">i", 1) + string(ledger.topic) + struct.pack(">ii", 1, 0)
        offset = struct.unpack_from(">iq", request(stream, 9, 1, body), 4 + 2 + len(ledger.topic) + 4)[1]
        if offset != 7:
            raise Wrong(f"LOST: the group's offset is {offset}")


# The trials ------------------------------------------------------------------------------------------------------------------------


def full(broker, dice, note):
    """A disk that gets full, with a reserve or without; kill -9; a start on the full disk; space; everything is there."""
    size, reserve = dice.choice([96, 128, 192, 256, 384]), dice.random() < 0.6
    broker.shards = dice.choice([1, 2]) if size > 96 else 1
    disk = broker.disk = Disk(broker.work, size)
    broker.settings = small(dice) + ([] if reserve else ["log.dir.free.min.bytes=0"])
    note(f"{size} MiB, {'a reserve' if reserve else 'no reserve'}, {broker.shards} shards, {broker.settings[4]}")
    # More than must be free for produce to be taken again.
    disk.fill("ballast", size * MIB * 36 // 100)
    if not broker.start():
        raise Wrong(f"no start: {broker.sentence()}")
    keep, fill = Ledger(broker.port, "keep"), Ledger(broker.port, "fill", configs=[("durability.class", dice.choice(["durable", "replicated"]))])
    with connect(broker.port) as stream:
        keeps_on = not send(keep, stream, 20)
        group_goes_on(broker, keep)
        stream.settimeout(5 if not reserve else 60)
        started = time.monotonic()
        refused = waits_for_room(fill, stream, reserve)
    note(f"{refused} after {fill.acknowledged()} batches, {disk.free()} bytes free; the few before were {'taken' if keeps_on else 'refused'}")
    if not broker.alive():
        raise Wrong(f"has ended on a full disk after {time.monotonic() - started:.1f} s: {broker.said()[-1500:]}")
    note.counts["batches"] += keep.verify(broker.port)
    if reserve:
        # The reserve is for what clients do not write.
        group_goes_on(broker, keep)
    broker.kill()
    if reserve:
        disk.fill("others", disk.free() - 2 * MIB)
    served = broker.start()
    note(f"a start with {disk.free()} bytes free: {'serves' if served else broker.sentence()}")
    if served:
        keep.verify(broker.port)
        fill.verify(broker.port)
        refuses_soon(broker, keep, reserve)
        if not broker.alive():
            raise Wrong(f"has ended on a full disk: {broker.said()[-1500:]}")
    elif "full" not in broker.sentence() and "space" not in broker.sentence():
        raise Wrong(f"the sentence does not say that the disk is full: {broker.sentence()}")
    for name in ("ballast", *(["others"] if reserve else [])):
        disk.unlink(name)
    began = time.monotonic()
    if not served and not broker.start():
        raise Wrong(f"no start although there is space again: {broker.sentence()}")
    while True:
        with connect(broker.port) as stream:
            errors = {**send(keep, stream), **send(fill, stream)}
        took = time.monotonic() - began
        if not errors:
            break
        if took > RESUMES_WITHIN:
            raise Wrong(f"HANGS: produce is not taken {RESUMES_WITHIN} s after space was freed: {errors}: {broker.said()[-800:]}")
        time.sleep(0.05)
    note(f"taken again {took:.1f} s after space was freed")
    for _ in range(2):
        note.counts["batches"] += keep.verify(broker.port) + fill.verify(broker.port)
        group_goes_on(broker, keep)
        broker.stop()
        broker.sound()
        if not broker.start():
            raise Wrong(f"no start: {broker.sentence()}")
    return "refused, served" if served else "refused, start refused until there was space"


def waits_for_room(ledger, stream, reserve):
    """Fills until nothing is taken; how that was said."""
    for _ in range(3_000):
        try:
            errors = send(ledger, stream)
        except Wrong:
            if reserve:
                raise
            # Without a reserve what cannot be written waits, and its answer with it.
            return "waits"
        if errors:
            if set(errors.values()) != {STORAGE_ERROR}:
                raise Wrong(f"refused by errors {errors}")
            return "refused"
    raise Wrong("a disk that is full takes everything")


def refuses_soon(broker, ledger, reserve):
    """On a full disk produce is refused within some seconds; what is taken until then must last."""
    if not reserve:
        return
    with connect(broker.port) as stream:
        until = time.monotonic() + 10
        while not send(ledger, stream):
            if time.monotonic() > until:
                raise Wrong("taken although the disk is full")
            time.sleep(0.1)


def read_error(broker, dice, note):
    """The end of the device cannot be read for a while: no wrong byte, errors for what is there, everything else goes on; then it is back."""
    broker.shards = dice.choice([1, 2])
    disk = broker.disk = Disk(broker.work, 192)
    broker.settings = small(dice)
    if not broker.start():
        raise Wrong(f"no start: {broker.sentence()}")
    early = Ledger(broker.port, "early")
    late = Ledger(broker.port, "late")
    with connect(broker.port) as stream:
        if send(early, stream, 10) or send(late, stream, dice.randint(100, 250)):
            raise Wrong("produce is refused")
    # A clean stop and a start: all of it is in the segments, nothing in memory.
    broker.stop()
    os.sync()
    if not broker.start():
        raise Wrong(f"no start: {broker.sentence()}")
    data = os.path.join(disk.mount, "data")
    ends = {}
    for path, _, files in os.walk(os.path.join(data, "topics")):
        for file in files:
            ends.setdefault(path, []).append(disk.end_of(os.path.join(path, file)))
    places = sorted(end for files in ends.values() for end in files)
    at = dice.choice(places[len(places) // 4:]) - dice.randrange(1, 4 * MIB)
    at = max(at - at % 4096, 16 * MIB)
    hit = sum(max(files) > at for path, files in ends.items() if files)
    disk.forget_pages(data)
    disk.cut(at)
    note(f"cut at {at} of {disk.bytes}, {sum(end > at for end in places)} of {len(places)} files and {hit} of {len(ends)} partitions reach behind it")
    unreadable, began = {}, time.monotonic()
    for ledger in (early, late):
        try:
            note.counts["batches"] += ledger.verify(broker.port, unreadable)
        except OSError as error:
            note(f"the connection is gone: {error}")
            break
    took = time.monotonic() - began
    note(f"read in {took:.1f} s, errors: {unreadable}")
    note.counts["partitions hit"] += hit
    note.counts["partitions with errors"] += len(unreadable)
    if len(unreadable) > hit:
        raise Wrong(f"errors of {len(unreadable)} partitions, although only {hit} are hit: {broker.said()[-800:]}")
    if broker.alive():
        outcome = "errors told, goes on" if unreadable else "nothing hit, goes on"
        if took > READ_WITHIN:
            raise Wrong(f"HANGS: the answers took {took:.1f} s")
    else:
        outcome = "ended by a sentence"
        broker.refused()
        note(broker.sentence())
    broker.kill()
    served = broker.start()
    note(f"a start without the end of the device: {'serves' if served else broker.sentence()}")
    if served:
        for ledger in (early, late):
            try:
                ledger.verify(broker.port, {})
            except OSError as error:
                note(f"the connection is gone: {error}")
                break
        if not broker.alive():
            broker.refused()
    note.counts["starts refused meanwhile"] += not served
    broker.kill()
    disk.cut(0)
    disk.check_and_mount_again()
    back_to_normal(broker, note, early, late)
    return outcome


def write_error(broker, dice, note):
    """Writes fail: the process ends by a sentence and acknowledges nothing more; on the mended device everything acknowledged is there."""
    broker.shards = dice.choice([1, 2])
    thin = dice.random() < 0.5
    disk = broker.disk = Disk(broker.work, 192, thin=dice.randint(40, 110)) if thin else Disk(broker.work, 128)
    broker.settings = small(dice)
    if not broker.start():
        raise Wrong(f"no start: {broker.sentence()}")
    ledger = Ledger(broker.port, "written")
    cut_after, place = dice.randint(5, 60), dice.randrange(40, 70) * MIB
    last, refused, turn = time.monotonic(), 0, 0
    try:
        with connect(broker.port) as stream:
            # Memory that is gone is a full disk at first: refused while nothing else comes of it.
            while refused < REFUSES_FOR / PAUSE and turn < 3_000:
                if turn == cut_after and not thin:
                    disk.cut(place)
                turn, before = turn + 1, ledger.acknowledged()
                if ledger.send(stream):
                    refused += 1
                    time.sleep(PAUSE)
                last = time.monotonic() if ledger.acknowledged() > before else last
    except OSError as error:
        note(f"the connection is gone: {error}")
        broker.ends()
        took = time.monotonic() - last
        note(f"ended {took:.2f} s after the last acknowledgement, {ledger.acknowledged()} batches, {refused} refused: {broker.sentence()}")
        outcome = "ended by a sentence"
    else:
        outcome = "refused as full"
        if not refused or not broker.said().count("full"):
            raise Wrong(f"goes on after {turn} turns: {broker.said()[-800:]}")
    broker.kill()
    disk.cut(0)
    disk.check_and_mount_again()
    back_to_normal(broker, note, ledger)
    return outcome + (" (no memory behind the device)" if thin else " (end of the device gone)")


def back_to_normal(broker, note, *ledgers):
    """The device is whole again: everything acknowledged is there, what is repeated is not doubled, and the files are sound."""
    if not broker.start():
        raise Wrong(f"LOST: no start on the mended device: {broker.sentence()}")
    for ledger in ledgers:
        ledger.verify(broker.port)
        with connect(broker.port) as stream:
            if send(ledger, stream, 3):
                raise Wrong("produce is refused on the mended device")
        note.counts["batches"] += ledger.verify(broker.port)
    broker.stop()
    broker.sound()


if __name__ == "__main__":
    main()
