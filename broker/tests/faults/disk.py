"""A small file system over a loop device that can get full, lose its end, and get it back. Only inside the namespace that run.sh makes."""

import fcntl
import os
import re
import struct
import subprocess
import time

GET_STATUS, SET_STATUS, MIB = 0x4C05, 0x4C04, 1 << 20


def tool(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def unmount(path):
    """The files of a process that was killed are let go a moment after it: its rings are taken down behind its back."""
    until = time.monotonic() + 20
    while True:
        try:
            return tool("umount", path)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


class Disk:
    """`thin` is the size in MiB of the memory that stands behind the device, where that is less than the device itself."""

    def __init__(self, work, mib, thin=None):
        self.mount, self.below, self.bytes = os.path.join(work, "mnt"), os.path.join(work, "thin"), mib * MIB
        os.makedirs(self.mount, exist_ok=True)
        os.makedirs(self.below, exist_ok=True)
        self.thin = thin is not None
        if self.thin:
            tool("mount", "-t", "tmpfs", "-o", f"size={thin}M", "none", self.below)
        self.image = os.path.join(self.below if self.thin else work, "image")
        with open(self.image, "wb") as image:
            image.truncate(self.bytes)
        tool("mkfs.ext4", "-q", "-F", self.image)
        self.device = None
        self.attach()

    def attach(self):
        # Such a loop device goes when it is unmounted, whoever does that.
        tool("mount", "-o", "loop", self.image, self.mount)
        self.device = tool("findmnt", "-n", "-o", "SOURCE", self.mount).strip()

    def check_and_mount_again(self):
        """As after a start of the machine: what only the page cache had is gone. There is memory again, too."""
        if self.thin:
            tool("mount", "-o", f"remount,size={2 * self.bytes}", self.below)
        unmount(self.mount)
        done = subprocess.run(["e2fsck", "-f", "-y", self.image], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode > 3:
            raise OSError(f"the file system cannot be mended: {done.stdout}")
        self.attach()

    def remove(self):
        for path in (self.mount, self.below):
            if os.path.ismount(path):
                unmount(path)
        if os.path.exists(self.image):
            os.remove(self.image)

    def free(self):
        found = os.statvfs(self.mount)
        return found.f_bavail * found.f_frsize

    def fill(self, name, size):
        """A file of so many bytes, less where there is no room."""
        with open(os.path.join(self.mount, name), "wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, size))
            except OSError:
                pass

    def unlink(self, name):
        os.remove(os.path.join(self.mount, name))

    def cut(self, size):
        """The device ends at so many bytes from now on: every read and write behind is an error. 0 gives it back whole, as it was."""
        with open(self.device, "rb") as device:
            status = bytearray(232)
            fcntl.ioctl(device, GET_STATUS, status)
            struct.pack_into("=Q", status, 32, size)
            fcntl.ioctl(device, SET_STATUS, bytes(status))

    def end_of(self, path):
        """First byte of the device behind all that a file has on it."""
        extents = re.findall(r"^\s*\d+:\s*\d+\.\.\s*\d+:\s*(\d+)\.\.\s*(\d+):", tool("filefrag", "-b1", "-v", path), re.MULTILINE)
        return max((int(last) + 1 for _, last in extents), default=0)

    def forget_pages(self, folder):
        """Takes what is clean of these files out of the page cache; without a word to the rest of the machine."""
        for path, _, files in os.walk(folder):
            for name in files:
                fd = os.open(os.path.join(path, name), os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)
