#!/usr/bin/env bash
# Real faults of the device under a running broker, on small file systems over loop devices: a disk that gets full, a read error, a write error.
# Needs root, loop devices, mkfs.ext4, kcat and curl; says so and ends with 0 where one is missing. Usage: broker/tests/faults/run.sh [full|read|write]...
# The program: target/debug/coreline, or $CORELINE. Everything it makes lies in a directory that it removes.
set -u
cd "$(dirname "$0")/../../.."
coreline=${CORELINE:-target/debug/coreline}
skip() { echo "skipped: $1"; exit 0; }
[ "$(id -u)" = 0 ] || skip "needs root"
for tool in losetup mkfs.ext4 kcat curl mount; do command -v $tool >/dev/null || skip "$tool is missing"; done
losetup -f >/dev/null 2>&1 || skip "there are no loop devices"
[ -x "$coreline" ] || skip "$coreline is not built"
work=$(mktemp -d)
broker= loop= backing= failed=0
fail() { echo "FAILED: $1"; failed=1; }
ok() { echo "ok: $1"; }
cleanup() {
    [ -n "$broker" ] && kill -9 "$broker" 2>/dev/null && wait "$broker" 2>/dev/null
    broker=
    mountpoint -q "$work/mnt" && umount -l "$work/mnt"
    [ -n "$loop" ] && losetup -d "$loop" 2>/dev/null
    loop=
    mountpoint -q "$work/thin" && umount -l "$work/thin"
}
trap 'cleanup; rm -rf "$work"' EXIT

# A file system of $1 MiB over a loop device whose file lies in $2.
make_disk() {
    mkdir -p "$work/mnt"
    backing=$2/image
    truncate -s "$1M" "$backing" && mkfs.ext4 -q -F "$backing" || return 1
    loop=$(losetup -f --show --direct-io=off "$backing") && mount "$loop" "$work/mnt"
}
start() {
    rm -f "$work/log"
    "$coreline" serve --shards 1 --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data-dir "$work/mnt/data" \
        --set journal.file.bytes=4194304 --set journal.max.bytes=16777216 --set log.segment.bytes=8388608 --set tail.memory.bytes=8388608 "$@" 2>"$work/log" &
    broker=$!
    for _ in $(seq 600); do
        grep -q ' ready' "$work/log" && break
        kill -0 $broker 2>/dev/null || return 1
        sleep 0.1
    done
    address=$(sed -n 's/.*listening on \([0-9.:]*\).*/\1/p' "$work/log" | head -1)
    admin=$(sed -n 's|.*admin on \(http://[0-9.:]*\).*|\1|p' "$work/log" | head -1)
}
metric() { curl -s "$admin/metrics" | awk -v m="$1" 'index($1, m) == 1 { n += $NF } END { printf "%d\n", n }'; }
produce() { seq -f "$1 %.0f $(head -c 1000 /dev/zero | tr '\0' x)" "$2" "$3" | timeout 120 kcat -b "$address" -P -t "$1" -X acks=all -X message.timeout.ms="${4:-30000}" 2>"$work/produce"; }
consume() { timeout 120 kcat -b "$address" -C -t "$1" -e -q -X check.crcs=true 2>"$work/consume"; }

full() {
    echo "== a disk that gets full"
    make_disk 192 "$work" || { fail "no file system"; return; }
    # What is freed at the end.
    dd if=/dev/zero of="$work/mnt/ballast" bs=1M count=24 status=none
    start || { fail "no start: $(cat "$work/log")"; return; }
    produce keep 1 2000 || fail "produce"
    n=0
    while [ $n -lt 40 ] && produce fill $((n * 5000 + 1)) $((n * 5000 + 5000)) 4000; do n=$((n + 1)); done
    [ "$(metric coreline_disk_space_low)" = 1 ] && ok "produce is refused with $(metric coreline_disk_free_bytes) bytes free, after $n times 5 MB" || fail "not refused"
    kill -0 "$broker" || fail "the broker has ended: $(tail -3 "$work/log")"
    [ "$(consume keep | wc -l)" = 2000 ] && ok "consume goes on" || fail "consume"
    kcat -b "$address" -C -G group -X auto.offset.reset=earliest -c 10 -q keep >"$work/group" 2>&1
    [ "$(wc -l <"$work/group")" = 10 ] && ok "a group goes on" || fail "a group: $(head -3 "$work/group")"
    free=$(df --output=avail -B1 "$work/mnt" | tail -1)
    kill -9 "$broker"; wait "$broker" 2>/dev/null
    dd if=/dev/zero of="$work/mnt/others" bs=1M count=$((free / 1048576 - 1)) status=none
    start && ok "starts again with $(df --output=avail -B1 "$work/mnt" | tail -1) bytes free" || { fail "no start on the full disk: $(tail -3 "$work/log")"; return; }
    [ "$(consume keep | wc -l)" = 2000 ] && ok "nothing acknowledged is lost" || fail "consume after the restart"
    produce keep 2001 2001 3000 && sleep 1 && produce keep 2002 2002 3000 && fail "taken although the disk is full"
    kill -0 "$broker" || fail "the broker has ended: $(tail -3 "$work/log")"
    rm "$work/mnt/others" "$work/mnt/ballast"
    began=$(date +%s)
    for _ in $(seq 60); do produce again 1 10 2000 && break; done
    [ "$(consume again | wc -l)" -ge 10 ] && ok "produce is taken $(($(date +%s) - began)) s after space was freed" || fail "not taken: $(tail -3 "$work/log")"
    grep -c "space" "$work/log" | sed 's/^/lines about space in the log: /'
    kill "$broker"; wait "$broker" && ok "stops cleanly" || fail "the stop: $(tail -2 "$work/log")"
    broker=
    "$coreline" log verify "$work/mnt/data" | tail -2
}

read_error() {
    echo "== a read error: the end of the device is gone"
    make_disk 192 "$work" || { fail "no file system"; return; }
    start || { fail "no start: $(cat "$work/log")"; return; }
    produce early 1 2000 || fail "produce"
    produce late 1 60000 || fail "produce"
    sleep 3
    sync; echo 3 >/proc/sys/vm/drop_caches
    truncate -s 96M "$backing"; losetup -c "$loop" 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches
    consume late >"$work/got"; lines=$(wc -l <"$work/got")
    sort -n -k2 -u "$work/got" | awk '$1 != "late" { bad = 1 } END { exit bad }' && ok "no wrong record among the $lines of 60000 that could be read" || fail "wrong records"
    if kill -0 "$broker" 2>/dev/null; then
        [ "$(consume early | wc -l)" = 2000 ] && ok "the other partition goes on" || fail "the other partition: $(tail -3 "$work/log")"
        grep -E "read failed|damaged|ends before" "$work/log" | head -1
    else
        tail -2 "$work/log"
    fi
}

write_error() {
    echo "== a write error: the file under the device has no more space"
    mkdir -p "$work/thin"
    mount -t tmpfs -o size=64M none "$work/thin" && make_disk 192 "$work/thin" || { fail "no file system"; return; }
    start || { fail "no start: $(cat "$work/log")"; return; }
    n=0
    while kill -0 "$broker" 2>/dev/null && [ $n -lt 40 ]; do produce fill $((n * 2000 + 1)) $((n * 2000 + 2000)) 3000 || break; n=$((n + 1)); done
    for _ in $(seq 50); do kill -0 "$broker" 2>/dev/null || break; sleep 0.1; done
    if kill -0 "$broker" 2>/dev/null; then fail "goes on after a write error: $(tail -3 "$work/log")"; else
        wait "$broker"; code=$?
        [ $code != 0 ] && ok "ends with exit code $code after $n times 2 MB: $(grep '^coreline: ' "$work/log" | head -1)" || fail "exit code 0"
        broker=
    fi
}

for trial in "${@:-full read write}"; do
    for one in $trial; do
        case $one in full) full ;; read) read_error ;; write) write_error ;; *) echo "full, read or write"; exit 2 ;; esac
        cleanup
    done
done
exit $failed
