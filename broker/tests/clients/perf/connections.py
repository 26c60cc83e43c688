#!/usr/bin/env python3
"""Memory of idle connections: resident bytes of the broker per open connection, measured at its process.

    broker/tests/clients/perf/connections.py --coreline target/release/coreline [--connections 10000] [--shards 2]

Four kinds, each on a broker of its own: never used, used once for ApiVersions and Metadata, used once more for a produce of 64 KiB, and, to
tell what of that are records, as many produces by one connection while the others stay as in the second kind. The
connections are opened (from several loopback addresses, below the limits per address), used, and left alone for --settle seconds; the
resident memory before and after is VmRSS of /proc/PID/status, so the kernel's socket buffers are not in it. Standard library only."""

import argparse, os, resource, shutil, signal, socket, struct, subprocess, tempfile, threading, time, urllib.request

TABLE = []
for n in range(256):
    for _ in range(8):
        n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def frame(key, version, body):
    head = struct.pack('>hhih4s', key, version, 7, 4, b'idle')
    return struct.pack('>i', len(head) + len(body)) + head + body


def varint(n):
    n = (n << 1) ^ (n >> 63)
    out = b''
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def batch(size):
    value = os.urandom(size)
    record = b'\0' + varint(0) + varint(0) + varint(-1) + varint(len(value)) + value + varint(0)
    record = varint(len(record)) + record
    body = struct.pack('>hiqqqhii', 0, 0, 1700000000000, 1700000000000, -1, -1, -1, 1) + record
    return struct.pack('>qiibI', 0, 4 + 1 + 4 + len(body), -1, 2, crc32c(body)) + body


def produce(topic, data):
    name = topic.encode()
    body = struct.pack('>hhi', -1, 1, 60000) + struct.pack('>ih', 1, len(name)) + name
    return frame(0, 7, body + struct.pack('>iii', 1, 0, len(data)) + data)


def metadata(topic):
    name = topic.encode()
    return frame(3, 4, struct.pack('>ih', 1, len(name)) + name + b'\1')


def answer(sock):
    data = b''
    while len(data) < 4 or len(data) < 4 + struct.unpack('>i', data[:4])[0]:
        some = sock.recv(65536)
        if not some:
            raise SystemExit('the broker closed a connection')
        data += some


def rss(pid):
    with open(f'/proc/{pid}/status') as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith('VmRSS'))


def run(args, kind):
    data = tempfile.mkdtemp(prefix='coreline-connections-')
    broker = subprocess.Popen(
        [args.coreline, 'serve', '--data-dir', data, '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--shards', str(args.shards)],
        stderr=subprocess.PIPE, text=True)
    try:
        port = admin = None
        for line in broker.stderr:
            if 'listening on' in line:
                port = int(line.rsplit(':', 1)[1])
            if 'admin on' in line:
                admin = line.rsplit('admin on ', 1)[1].strip()
            if ' ready ' in line:
                break
        threading.Thread(target=lambda: [None for _ in broker.stderr], daemon=True).start()
        first = socket.create_connection(('127.0.0.1', port))
        data64 = batch(64 * 1024)
        for request in [metadata('idle')] + [produce('idle', data64)] * 20:
            first.sendall(request)
            answer(first)
        time.sleep(args.settle)
        before = rss(broker.pid)
        open_ = []
        for n in range(args.connections):
            sock = socket.socket()
            sock.bind((f'127.0.1.{1 + n // 1500}', 0))
            sock.connect(('127.0.0.1', port))
            open_.append(sock)
            requests = {'never used': [], 'metadata': [frame(18, 0, b''), metadata('idle')],
                        'produce': [frame(18, 0, b''), metadata('idle'), produce('idle', data64)],
                        'records': [frame(18, 0, b''), metadata('idle')]}[kind]
            for request in requests:
                sock.sendall(request)
                answer(sock)
            if kind == 'records':
                first.sendall(produce('idle', data64))
                answer(first)
            if n % 200 == 199:
                time.sleep(0.1)
        deadline = time.time() + 60
        while True:
            text = urllib.request.urlopen(admin + '/metrics').read().decode()
            counted = sum(int(line.split()[1]) for line in text.splitlines() if line.startswith('coreline_connections{'))
            if counted >= args.connections or time.time() > deadline:
                break
            time.sleep(0.2)
        time.sleep(args.settle)
        after = rss(broker.pid)
        print(f'{kind:12} {counted:6} connections  RSS {before / 1e6:8.1f} -> {after / 1e6:8.1f} MB  '
              f'{(after - before) / args.connections / 1024:6.2f} KiB each', flush=True)
    finally:
        broker.send_signal(signal.SIGTERM)
        broker.wait(60)
        shutil.rmtree(data, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--coreline', required=True)
    parser.add_argument('--connections', type=int, default=10000)
    parser.add_argument('--shards', type=int, default=2)
    parser.add_argument('--settle', type=float, default=5)
    parser.add_argument('--only')
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, args.connections + 1000), hard))
    for kind in ['never used', 'metadata', 'produce', 'records']:
        if args.only in (None, kind):
            run(args, kind)


main()
