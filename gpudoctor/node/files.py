"""Files, directories, links and device nodes of a live machine, under a root."""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib
from typing import Literal

from gpudoctor.node.descriptor import FLAGS, read_file
from gpudoctor.node.gaps import gap_of_errno
from gpudoctor.node.surface import Stat
from gpudoctor.unread import Gap, Reading, Unread

MOST = 64 << 20
MOST_UNPACKED = 512 << 20
KMSG = "/dev/kmsg"
LOGS = ("/var/log/", "/run/log/")
LONGEST_RECORD = 16384
KMSG_SECONDS = 5.0

Kind = Literal["file", "dir", "char", "block", "link", "other"]
_KINDS: dict[int, Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFLNK: "link",
}


class Files:
    """Every path is absolute and is looked up under the root; a link cannot lead out of it."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.normpath(root)

    def read(self, path: str) -> Reading[bytes]:
        """A compressed log is read as its text. Of a log beyond 64 MiB the end is read, after a line that says so."""
        try:
            place = self.place(path)
            if path == KMSG:
                return _kmsg(place)
            if path.endswith(".gz"):
                return _unpacked(read_file(place, MOST), path)
            is_log = path.startswith(LOGS)
            return _marked(read_file(place, MOST, keep_end=is_log), place, is_log)
        except OSError as error:
            return self.unread(path, error)

    def list(self, path: str) -> Reading[tuple[str, ...]]:
        try:
            return tuple(sorted(os.fsencode(name).decode(errors="replace") for name in os.listdir(self.place(path))))
        except OSError as error:
            return self.unread(path, error)

    def link(self, path: str) -> Reading[str]:
        try:
            return os.fsencode(os.readlink(self.place(path, follow=False))).decode(errors="replace")
        except OSError as error:
            if error.errno == errno.EINVAL:
                return Unread(Gap.ABSENT, path, "is not a symbolic link")
            return self.unread(path, error)

    def stat(self, path: str) -> Reading[Stat]:
        try:
            place = self.place(path, follow=False)
            entry = os.lstat(place)
        except OSError as error:
            return self.unread(path, error)
        kind = _KINDS.get(stat.S_IFMT(entry.st_mode), "other")
        device = entry.st_rdev if kind in ("char", "block") else 0
        return Stat(
            kind,
            stat.S_IMODE(entry.st_mode) & 0o7777,
            entry.st_uid,
            entry.st_gid,
            os.major(device),
            os.minor(device),
            _may(place, os.R_OK),
            _may(place, os.W_OK),
        )

    def place(self, path: str, follow: bool = True) -> str:
        """Where a path of the machine lies here. Raises OSError."""
        if "\0" in path or not path.startswith("/"):
            raise OSError(errno.EINVAL, "is no absolute path", path)
        return path if self.root == "/" else self.root + _resolved(self.root, path, follow)

    def unread(self, path: str, error: OSError) -> Unread:
        gap, detail, remedy = gap_of_errno(error.errno or errno.EIO)
        if error.errno in (errno.ENOTSUP, errno.EFBIG) and error.strerror:
            detail = error.strerror
        return Unread(gap, path, detail, self._remedy(path, error) or remedy if gap is Gap.DENIED else "")

    def _remedy(self, path: str, error: OSError) -> str:
        if path == KMSG:
            return self._kmsg_remedy(error)
        if os.geteuid() == 0:
            return ""
        if path.startswith(LOGS):
            group = _group(self.root + path)
            return f"run as root, or join the group {group}" if group else "run as root"
        if path.startswith("/proc/") and path.split("/")[2].isdigit():
            return "run as root, or as the user of that process"
        return ""

    def _kmsg_remedy(self, error: OSError) -> str:
        restricted = self.read("/proc/sys/kernel/dmesg_restrict")
        if os.geteuid() == 0:
            return "give the container CAP_SYSLOG and the device: --cap-add SYSLOG --device /dev/kmsg"
        if error.errno == errno.EPERM and restricted == b"1\n":
            return (
                "kernel.dmesg_restrict is 1: run as root, give CAP_SYSLOG, or set sysctl kernel.dmesg_restrict=0; "
                "the journal is open to the group systemd-journal or adm"
            )
        group = _group(self.root + KMSG)
        return f"its mode keeps this user out: run as root{f', or join the group {group}' if group else ''}"


def _may(place: str, mode: int) -> bool:
    return os.access(place, mode, effective_ids=os.access in os.supports_effective_ids)


def _group(path: str) -> str:
    """The group that may read an entry, unless it is root's."""
    import grp

    try:
        entry = os.stat(path)
        name = grp.getgrgid(entry.st_gid).gr_name
    except (OSError, KeyError):
        return ""
    return name if entry.st_mode & stat.S_IRGRP and entry.st_gid != 0 else ""


def _resolved(root: str, path: str, follow: bool) -> str:
    """The path with its links followed as if `root` were the root directory."""
    done: list[str] = []
    todo = [part for part in reversed(path.split("/")) if part]
    links = 0
    while todo:
        part = todo.pop()
        if part in (".", ".."):
            done = done[:-1] if part == ".." else done
            continue
        here = "/" + "/".join([*done, part])
        if (todo or follow) and os.path.islink(root + here):
            links += 1
            if links > 40:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(root + here)
            done = [] if target.startswith("/") else done
            todo += [p for p in reversed(target.split("/")) if p]
        else:
            done.append(part)
    return "/" + "/".join(done)


def _kmsg(place: str) -> bytes:
    """Each read(2) gives one record; EPIPE says that records were overwritten before they were read.

    https://www.kernel.org/doc/Documentation/ABI/testing/dev-kmsg
    """
    if not stat.S_ISCHR(os.stat(place).st_mode):
        raise OSError(errno.ENOTSUP, "is not the kernel's log device", place)
    descriptor = os.open(place, FLAGS)
    records: list[bytes] = []
    held = 0
    until = time.monotonic() + KMSG_SECONDS
    try:
        while held < MOST and time.monotonic() < until:
            try:
                record = os.read(descriptor, LONGEST_RECORD)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue
            if not record:
                break
            records.append(record if record.endswith(b"\n") else record + b"\n")
            held += len(record)
    finally:
        os.close(descriptor)
    return b"".join(records)


def _marked(data: bytes, place: str, is_log: bool) -> bytes:
    size = os.stat(place).st_size if is_log and len(data) >= MOST else 0
    left = size - len(data)
    if left <= 0:
        return data
    whole_lines = data[data.find(b"\n") + 1 :]
    return b"-- the first %d bytes of this log were not read --\n%s" % (left, whole_lines)


def _unpacked(data: bytes, path: str) -> Reading[bytes]:
    """Of more than 64 MiB the end."""
    parts: list[bytes] = []
    held = total = 0
    while data.rstrip(b"\0"):
        packed = zlib.decompressobj(wbits=31)
        while data and not packed.eof:
            try:
                part = packed.decompress(data, 1 << 20)
            except zlib.error as error:
                return b"".join(parts) or Unread(Gap.MALFORMED, path, f"cannot be decompressed: {error}")
            data = packed.unconsumed_tail
            total += len(part)
            if total > MOST_UNPACKED:
                return Unread(Gap.MALFORMED, path, f"holds more than {MOST_UNPACKED >> 20} MiB once decompressed")
            parts.append(part)
            held += len(part)
            while held - len(parts[0]) > MOST:
                held -= len(parts.pop(0))
        data = packed.unused_data
    return b"".join(parts)
