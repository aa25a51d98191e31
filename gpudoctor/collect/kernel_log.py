"""Reads the kernel's log of this boot: /dev/kmsg, else the journal, else the files of syslog."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from gpudoctor.collect.collector import collector
from gpudoctor.facts.kernel_log import KernelLog
from gpudoctor.facts.machine import Machine
from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Reading, Unread

KMSG = "/dev/kmsg"
JOURNAL = ("journalctl", "-k", "-b", "-o", "short-unix", "--no-pager")
FILES = ("kern.log", "syslog", "messages")
LARGEST_BYTES = 256 << 20
_KERNEL_LINE = re.compile(rb"^(?:[^\n]{0,120} kernel(?:\[\d+\])?: |\[ *\d+\.\d+\] )", re.MULTILINE)


@collector
def kernel_log(node: Node, machine: Machine | Unread | None) -> KernelLog | Unread:
    # Imported here: the parser costs only who reads a log.
    from gpudoctor.parse.kernel_log import parse_kernel_log

    booted, now = _clock(machine, node)
    ring = _kmsg(node)
    newest = ring if isinstance(ring, Unread) else parse_kernel_log(ring, source=KMSG, booted=booted, now=now)
    if isinstance(newest, KernelLog) and newest.begins_at_boot:
        return newest
    journal = _journal(node)
    if not isinstance(journal, Unread):
        whole = parse_kernel_log(journal, source="journal", booted=booted, now=now)
        if isinstance(newest, Unread) or whole.begins_at_boot:
            return whole
    if isinstance(newest, KernelLog):  # its first lines are overwritten, and nobody has them
        return newest
    for name in FILES:
        path = f"/var/log/{name}"
        text = _file(node, path, name, booted)
        if not isinstance(text, Unread):
            return parse_kernel_log(text, source=path, booted=booted, now=now, since=booted)
    return Unread(
        newest.gap, "kernel log", f"{newest}; {journal!s}; no kernel lines in /var/log", _remedy(node, newest)
    )


def _clock(machine: Machine | Unread | None, node: Node) -> tuple[float | None, float | None]:
    if not isinstance(machine, Machine):
        return None, node.time or None
    return machine.get("booted"), machine.get("now", node.time or None)


def _kmsg(node: Node) -> Reading[bytes]:
    text = node.read(KMSG)
    if isinstance(text, Unread):
        return text
    if not text.strip():  # a sandbox's own, empty kernel log (gVisor, a masked device): says nothing of the machine
        return Unread(Gap.ABSENT, KMSG, "is empty, so it is not the log of this machine's kernel")
    return text


def _journal(node: Node) -> Reading[bytes]:
    answer = node.run(JOURNAL)
    if isinstance(answer, Unread):
        return answer
    if answer.exit == 0 and _KERNEL_LINE.search(answer.stdout):
        return answer.stdout
    said = answer.stderr.decode(errors="replace").strip().split("\n")[0]
    return Unread(
        Gap.DENIED if "ermission" in said else Gap.ABSENT, "journalctl -k -b", said or "holds no kernel lines"
    )


def _file(node: Node, path: str, name: str, booted: float | None) -> Reading[bytes]:
    """The file and, from the newest on, those it was rotated to, back to the last boot."""
    text = node.read(path)
    if isinstance(text, Unread):
        return text
    parts, size = [text], len(text)
    if not _reaches_boot(text, booted):
        for older in _rotated(node, name):
            data = _plain(node.read(f"/var/log/{older}"), older)
            if data is None or size + len(data) > LARGEST_BYTES:
                break
            parts.append(data)
            size += len(data)
            if _reaches_boot(data, booted):
                break
    whole = b"".join(reversed(parts))
    if not _KERNEL_LINE.search(whole):
        return Unread(Gap.ABSENT, path, "holds no kernel lines")
    return whole


def _rotated(node: Node, name: str) -> Iterator[str]:
    """kern.log.1, kern.log.2.gz, ..., or messages-20261115: newest first."""
    names = node.list("/var/log")
    if isinstance(names, Unread):
        return
    shape = re.compile(rf"{re.escape(name)}(?:\.(?P<nth>\d{{1,3}})|-(?P<day>\d{{8}})(?:-\d+)?)(?:\.gz)?")
    found = [match for match in map(shape.fullmatch, names) if match]
    yield from (m[0] for m in sorted(found, key=lambda m: int(m["nth"] or 0) or -int(m["day"] or 0)))


def _plain(data: Reading[bytes], name: str) -> bytes | None:
    if isinstance(data, Unread):
        return None
    if not name.endswith(".gz"):
        return data
    try:
        unpacker = zlib.decompressobj(wbits=31)
        return unpacker.decompress(data, LARGEST_BYTES)
    except zlib.error:
        return None


def _reaches_boot(text: bytes, booted: float | None) -> bool:
    if b"Linux version " in text:
        return True
    if booted is None:
        return False
    from gpudoctor.parse.log_line import LineReader

    first = LineReader(now=None).read(text[:4096].decode(errors="replace").split("\n", 1)[0])
    return first.dated and first.at is not None and booted > first.at > 978307200.0  # a line with a year


def _remedy(node: Node, ring: Unread) -> str:
    if ring.gap is Gap.TIMED_OUT:
        return "raise --timeout"
    restricted = node.read("/proc/sys/kernel/dmesg_restrict")
    value = None if isinstance(restricted, Unread) else restricted.decode(errors="replace").strip()
    if value == "1":
        return (
            "kernel.dmesg_restrict is 1: run as root or with CAP_SYSLOG; in a container, start it with "
            "--cap-add SYSLOG --device /dev/kmsg, or scan from the host"
        )
    if ring.gap is Gap.ABSENT:
        return "in a container, start it with --device /dev/kmsg --cap-add SYSLOG, or scan from the host"
    return (
        f"kernel.dmesg_restrict is {value or 'unread'}: run as root, or allow this user to read /dev/kmsg; "
        "reading the journal needs group adm or systemd-journal"
    )
