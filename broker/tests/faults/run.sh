#!/usr/bin/env bash
# Real faults of the device under a running broker, on small file systems over loop devices: a disk that gets full, read errors, write errors.
#
#   broker/tests/faults/run.sh [--rounds N] [--seed N] [full|read|write]...     # all three where none is named; a round takes about 8 s
#
# Needs root, loop devices, mkfs.ext4 and python3; says so and ends with 0 where one is missing. The program: target/debug/coreline, or $CORELINE.
# Everything runs in its own mount and process namespace: however it ends, processes and mounts go with it, and the loop devices with the mounts.
set -u
cd "$(dirname "$0")/../../.."
skip() { echo "skipped: $1"; exit 0; }
[ "$(id -u)" = 0 ] || skip "needs root"
for tool in losetup mkfs.ext4 e2fsck filefrag mount unshare python3; do command -v $tool >/dev/null || skip "$tool is missing"; done
losetup -f >/dev/null 2>&1 || skip "there are no loop devices"
[ -x "${CORELINE:-target/debug/coreline}" ] || skip "${CORELINE:-target/debug/coreline} is not built"
unshare --mount --pid --fork --kill-child --mount-proc true 2>/dev/null || skip "no namespaces may be made"
work=$(mktemp -d)
unshare --mount --pid --fork --kill-child --mount-proc python3 broker/tests/faults/trials.py "$work" "$@" &
trials=$!
trap 'kill -9 $trials 2>/dev/null; wait $trials 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
wait $trials
