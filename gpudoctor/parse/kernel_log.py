"""A kernel log, in any form: the lines since the last boot that may concern a GPU node, and its GPU events."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Generic, TypeVar

import msgspec
from msgspec.structs import replace

from gpudoctor.facts.kernel_log import KernelLog, KernelRecord, RecoveryChange, Reset, SxidEvent, XidEvent
from gpudoctor.parse.log_line import LineReader, LogLine
from gpudoctor.parse.sxid import parse_sxid
from gpudoctor.parse.xid import is_open, parse_xid

T = TypeVar("T")
_SECONDS = re.compile(r"\d{1,12}\.\d{1,9}")

WORDS = (
    # GPU drivers
    *("NVRM", "nvidia", "NVIDIA", "Xid", "nouveau", "amdgpu", "[drm", "drm:", "kfd", "gsp", "nova", "rivafb", "vfio"),
    # PCIe
    *("AER", "pcieport", "PCIe", "DPC", "pciehp", "Link Down", "BAR ", "can't assign", "failed to assign", "GHES"),
    *(
        "] type 0",
        "smmu",
        "Call Trace",
        "killed as a result",
        "Hardware Error",
        "no space for",
        "Unable to change power state",
        "inaccessible",
        "D3cold",
    ),
    # memory and machine checks
    *(
        "mce:",
        "MCE",
        "hardware memory corruption",
        "Machine check",
        "Machine Check",
        "EDAC",
        "DMAR",
        "IOMMU",
        "iommu",
        "AMD-Vi",
        "IO_PAGE_FAULT",
    ),
    *("oom", "OOM", "ut of memory", "Killed process", "page allocation failure", "vmalloc", "vmap", "swiotlb"),
    # a kernel in trouble
    *(
        "hung_task",
        "INFO: task ",
        "lockup",
        "rcu_",
        "rcu:",
        "Kernel panic",
        "BUG:",
        "Oops",
        "general protect",
    ),
    *("segfault", "watchdog", "hrottl", "emperature"),
    # modules
    *("Linux version", "Command line:", "module", "vermagic", "Unknown symbol", "disagrees about", "Key was rejected"),
    *("ecure boot", "Secure Boot", "ockdown", "taint", "Loading of"),
    # network and storage that GPU jobs hang on
    *("mlx5", "bnxt", "ib_", "nvme", "NETDEV WATCHDOG", "link is not ready", "No space left", "peermem"),
    *("fb0", "fbcon", "simpledrm", "efifb", "fabricmanager", "imex"),
    *("-- Reboot --", "-- Boot "),
)
_WORDS = tuple(word.encode() for word in WORDS)
_BOOT = re.compile(r"Linux version |-- (?:Reboot|Boot [0-9a-f]{32}) ?--$")  # the latter two: journalctl, between boots
_PROGRAM = re.compile(r"[\w./@-]{1,128}\[\d{1,10}\]: ")
_LOAD = re.compile(r"NVRM: loading NVIDIA UNIX .*?\s(?P<version>\d{3,4}\.\d{2,3}(?:\.\d{2,3})?)\b")
KEPT_AT_EACH_END = 50_000
RESTART_SECONDS = 60.0


def parse_kernel_log(
    text: bytes, *, source: str, booted: float | None = None, now: float | None = None, since: float | None = None
) -> KernelLog:
    """`booted` and `now` place lines that carry only seconds since the boot, or no year, on the epoch's clock."""
    log = _Reading()
    reader = LineReader(booted=booted, now=now)
    begins_at_boot = _starts_at_boot(text)
    for number, raw in _rejoined(text):
        line = reader.read(raw)
        if not line.message or _is_quoted(line.message):
            continue
        if log.is_new_boot(line):
            begins_at_boot = True
            log = _Reading(last_monotonic=line.monotonic)
        log.take(line, number)
    whole = KernelLog(
        origin=source,
        records=tuple(log.records),
        xids=tuple(log.xids),
        sxids=tuple(log.sxids),
        resets=tuple(log.resets),
        begins_at_boot=begins_at_boot,
        driver_version=log.driver_version,
        dropped=log.records.dropped,
    )
    one_clock = _on_one_clock(whole) if log.dated and log.undated else whole
    return one_clock if since is None else one_clock.since(since)


class _Ends(Generic[T]):
    """The first and the last of many; a storm of lines must not take the machine's memory."""

    def __init__(self) -> None:
        self._first: list[T] = []
        self._last: deque[T] = deque(maxlen=KEPT_AT_EACH_END)
        self.count = 0

    def append(self, item: T) -> None:
        self.count += 1
        (self._first if len(self._first) < KEPT_AT_EACH_END else self._last).append(item)

    def __iter__(self) -> Iterator[T]:
        yield from self._first
        yield from self._last

    @property
    def dropped(self) -> int:
        return self.count - len(self._first) - len(self._last)


class _Reading(msgspec.Struct):
    """What was read since the last boot that the text shows."""

    records: _Ends[KernelRecord] = msgspec.field(default_factory=lambda: _Ends[KernelRecord]())
    xids: _Ends[XidEvent] = msgspec.field(default_factory=lambda: _Ends[XidEvent]())
    sxids: _Ends[SxidEvent] = msgspec.field(default_factory=lambda: _Ends[SxidEvent]())
    resets: _Ends[Reset] = msgspec.field(default_factory=lambda: _Ends[Reset]())
    driver_version: str | None = None
    last_monotonic: float | None = None
    dated: bool = False
    undated: bool = False

    def is_new_boot(self, line: LogLine) -> bool:
        """The kernel's first line, or its clock starting over (lines of one moment may swap, by far less)."""
        last = self.last_monotonic
        self.last_monotonic = line.monotonic if line.monotonic is not None else last
        if _BOOT.match(line.message):
            return self.records.count > 0
        return (
            last is not None
            and line.monotonic is not None
            and line.monotonic < min(last, 2 * RESTART_SECONDS) - (RESTART_SECONDS)
        )

    def take(self, line: LogLine, number: int) -> None:
        record = KernelRecord(line.message, number, line.at, _shown_time(line))
        self.records.append(record)
        self.dated = self.dated or line.dated
        self.undated = self.undated or (line.at is not None and not line.dated)
        if "SXid" in line.message:
            if (switch_event := parse_sxid(record)) is not None:
                self.sxids.append(switch_event)
        elif "Xid" in line.message:
            if (event := parse_xid(record)) is not None:
                self.xids.append(event)
                if isinstance(event.says, RecoveryChange) and event.says.after == 0:
                    self.resets.append(Reset(record, event.bus_id, "recovery action cleared"))
        elif "NVRM: loading" in line.message and (loaded := _LOAD.search(line.message)):
            self.driver_version = loaded["version"]
            self.resets.append(Reset(record, None, "module loaded"))


def _rejoined(text: bytes) -> Iterator[tuple[int, str]]:
    """Lines that hold one of the words, with their numbers; broken Xid lines in one piece."""
    number, counted, done = 1, 0, 0
    for start in _hits(text):
        if start < done:
            continue
        end = _line_end(text, start)
        number += text.count(b"\n", counted, start)
        counted = start
        raw = _decoded(text, start, end)
        if "Xid" in raw and is_open(raw):
            raw, end = _with_rest(text, raw, end)
        yield number, raw
        done = end


def _hits(text: bytes) -> list[int]:
    """Where lines with one of the words begin. One search a word: find() is far faster than an alternation of `re`."""
    starts: set[int] = set()
    for word in _WORDS:
        position = text.find(word)
        while position >= 0:
            starts.add(text.rfind(b"\n", 0, position) + 1)
            position = text.find(word, _line_end(text, position))
    return sorted(starts)


def _with_rest(text: bytes, raw: str, end: int) -> tuple[str, int]:
    """The one or two lines that follow, where they have no prefix of their own and say nothing of their own."""
    for _ in range(2):
        following = _line_end(text, end + 1)
        rest = _decoded(text, end + 1, following).strip("> \t\r")
        plain = LineReader().read(rest)
        if end + 1 >= len(text) or not rest or plain.time or plain.message != rest or _is_hit(rest):
            break
        raw = raw.rstrip("\r ") + ("" if raw.rstrip("\r")[-1:] in ":(=0." else " ") + rest
        end = following
        if not is_open(raw):
            break
    return raw, end


def _is_quoted(message: str) -> bool:
    """A program of user space (a monitor, or anybody at all) repeats the kernel's words in its own log line."""
    return ("NVRM" in message or "Xid" in message) and _PROGRAM.match(message) is not None


def _is_hit(line: str) -> bool:
    return any(word in line for word in WORDS)


def _line_end(text: bytes, start: int) -> int:
    end = text.find(b"\n", start)
    return len(text) if end < 0 else end


def _decoded(text: bytes, start: int, end: int) -> str:
    return text[start : min(end, start + 16384)].decode("utf-8", errors="replace")


def _starts_at_boot(text: bytes) -> bool:
    head = text[:4096].decode("utf-8", errors="replace").lstrip("\ufeff")
    lines = (line for line in head.split("\n") if line.strip() and not line.startswith("-- "))  # journalctl's headings
    first = LineReader().read(next(lines, ""))
    return first.message.startswith("Linux version ") or (first.monotonic is not None and first.monotonic < 1.0)


def _on_one_clock(log: KernelLog) -> KernelLog:
    """A log of two clocks: what only counts from the boot cannot be placed beside what has a date."""
    earliest_epoch = 86400.0 * 365

    def placed(record: KernelRecord) -> KernelRecord:
        return replace(record, at=None) if record.at is not None and record.at < earliest_epoch else record

    return log.with_fields(
        records=tuple(placed(r) for r in log.records),
        xids=tuple(replace(e, record=placed(e.record)) for e in log.xids),
        sxids=tuple(replace(e, record=placed(e.record)) for e in log.sxids),
        resets=tuple(replace(e, record=placed(e.record)) for e in log.resets),
    )


def _shown_time(line: LogLine) -> str | None:
    """As printed; a bare number of seconds, which nobody can set beside another log, as the instant it stands for."""
    if line.time is None or line.at is None or not line.dated or not _SECONDS.fullmatch(line.time):
        return line.time
    try:
        return datetime.fromtimestamp(line.at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):  # a clock far off
        return line.time
