"""The text of a recording (*.node): versioned, line-based, readable, failures included.

    gpudoctor-node 1
    platform linux
    uid 0
    time 1763695300.0
    == file /proc/sys/kernel/hostname
    gpu-a17
    == file /sys/bus/pci/devices/0000:00:06.0/config base64
    3hA1Mw==
    == dir /sys/bus/pci/devices
    0000:00:06.0
    == link /sys/bus/pci/devices/0000:00:06.0/driver -> ../../../bus/pci/drivers/nvidia
    == stat /dev/nvidia0 char 0666 0:0 195:0 rw
    == run journalctl -k (exit 0)
    ...
    == nvml nvmlDeviceGetName(gpu 0)
    "NVIDIA H200"
    == unread file /dev/kmsg denied
    "Operation not permitted" "run as root"

A content line that begins with `== ` or `\\` is written with a backslash before it; a text that does
not end in a newline is closed by a line that is a backslash alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, cast

from gpudoctor.node.surface import Output, Stat
from gpudoctor.unread import Gap, Reading, Unread

VERSION = 1
MAGIC = "gpudoctor-node"
VERBS = ("file", "dir", "link", "stat", "run", "nvml")
Verb = Literal["file", "dir", "link", "stat", "run", "nvml"]
Key = tuple[Verb, str]  # ("file", "/proc/version"), ("nvml", "nvmlDeviceGetName(gpu 0)")

_SHAPES: dict[str, re.Pattern[str]] = {
    "file": re.compile(r"(?P<key>.+?)(?P<base64> base64)?"),
    "dir": re.compile(r"(?P<key>.+)"),
    "link": re.compile(r"(?P<key>.+?) -> (?P<target>.*)"),
    "stat": re.compile(
        r"(?P<key>.+) (?P<kind>file|dir|char|block|link|other) (?P<mode>[0-7]{4}) "
        r"(?P<uid>\d+):(?P<gid>\d+) (?P<major>\d+):(?P<minor>\d+) (?P<may>[r-][w-])"
    ),
    "run": re.compile(r"(?P<key>.+) \(exit (?P<exit>-?\d+)(?P<base64>, base64)?\)"),
    "nvml": re.compile(r"(?P<key>.+)"),
}


class MalformedArchive(ValueError):
    """The text is no recording, or one this version cannot read. The message is one sentence."""


@dataclass(slots=True)
class Archive:
    platform: str = "linux"
    uid: int = 0
    time: float = 0.0
    redacted: bool = False
    surfaces: dict[Key, Reading[Any]] = field(default_factory=dict)
    sample_seconds: float = 0.0  # between the two readings of counters; 0: they were read once


def dump(archive: Archive) -> str:
    lines = [
        f"{MAGIC} {VERSION}",
        f"platform {archive.platform}",
        f"uid {archive.uid}",
        f"time {archive.time!r}",
        f"redacted {'yes' if archive.redacted else 'no'}",
        *([f"sample {archive.sample_seconds!r}"] if archive.sample_seconds else []),
    ]
    for (verb, key), reading in archive.surfaces.items():
        lines += _section(verb, key, reading)
    return "\n".join(lines) + "\n"


def load(text: str) -> Archive:
    """Raises MalformedArchive."""
    lines = text.split("\n")
    version = lines[0].split(" ")
    if version[0] != MAGIC:
        raise MalformedArchive(f"is no recording: its first line is not '{MAGIC} {VERSION}'")
    if version[1:] != [str(VERSION)]:
        raise MalformedArchive(f"is a recording of version {' '.join(version[1:]) or '?'}, this reads {VERSION}")
    first = next((i for i, line in enumerate(lines) if line.startswith("== ")), len(lines))
    archive = _header(lines[1:first])
    for number, head, body in _sections(lines, first):
        try:
            key, reading = parse_section(head, body)
        except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
            raise MalformedArchive(f"has a section it cannot hold at line {number}: {error}") from error
        archive.surfaces[key] = reading
    return archive


def _header(lines: list[str]) -> Archive:
    held = dict(line.split(" ", 1) for line in lines if " " in line)
    for name in ("platform", "uid", "time"):
        if name not in held:
            raise MalformedArchive(f"has a broken header: it lacks {name}")
    try:
        seconds = float(held["time"])
        datetime.fromtimestamp(seconds, timezone.utc)  # also refuses nan, inf and years beyond 9999
        sample = float(held.get("sample", "0"))
        redacted = held.get("redacted") == "yes"
        return Archive(held["platform"], int(held["uid"]), seconds, redacted, sample_seconds=max(0.0, sample))
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedArchive(f"has a broken header: {error}") from error


def _one_line(name: str) -> str:
    """A file's name may hold anything but a slash."""
    return name.replace("\n", "?").replace("\r", "?")


def _section(verb: Verb, key: str, reading: Reading[Any]) -> Iterator[str]:
    key = _one_line(key)
    if isinstance(reading, Unread):
        yield f"== unread {verb} {key} {reading.gap.name.lower()}"
        yield json.dumps([reading.where, reading.detail, reading.remedy])
    elif verb == "file":
        text = _as_text(reading)
        yield f"== file {key}{' base64' if text is None else ''}"
        yield from _escaped(text) if text is not None else [base64.b64encode(reading).decode()]
    elif verb == "dir":
        yield f"== dir {key}"
        yield from (_escaped(_one_line(name) + "\n")[0] for name in reading)
    elif verb == "link":
        yield f"== link {key} -> {_one_line(reading)}"
    elif verb == "stat":
        may = ("r" if reading.readable else "-") + ("w" if reading.writable else "-")
        yield (
            f"== stat {key} {reading.kind} {reading.mode:04o} {reading.uid}:{reading.gid} "
            f"{reading.major}:{reading.minor} {may}"
        )
    elif verb == "run":
        text = _as_text(reading.stdout)
        yield f"== run {key} (exit {reading.exit}{'' if text is not None else ', base64'})"
        yield from _escaped(text) if text is not None else [base64.b64encode(reading.stdout).decode()]
    else:
        yield f"== nvml {key}"
        yield json.dumps(reading)


def parse_section(head: str, body: Sequence[str] = ()) -> tuple[Key, Reading[Any]]:
    """One section: its line without `== `, and the lines under it. Raises ValueError."""
    verb, _, rest = head.partition(" ")
    if verb == "unread":
        verb, _, rest = rest.partition(" ")
        key, _, gap = rest.rpartition(" ")
        if verb not in VERBS or not key:
            raise ValueError(f"unknown surface {head[:60]!r}")
        if gap.upper() not in Gap.__members__:
            raise ValueError(f"unknown gap {gap[:60]!r}")
        where, detail, remedy = json.loads(body[0] if body else "")
        return (cast(Verb, verb), key), Unread(Gap[gap.upper()], where, detail, remedy)
    shape = _SHAPES[verb].fullmatch(rest) if verb in _SHAPES else None
    if shape is None:
        raise ValueError(f"unknown surface {head[:60]!r}")
    return (cast(Verb, verb), shape["key"]), _content(verb, shape, body)


def _content(verb: str, shape: re.Match[str], body: Sequence[str]) -> Any:
    if verb == "dir":
        return tuple(name.removeprefix("\\") for name in body)
    if verb == "link":
        return shape["target"]
    if verb == "stat":
        uid, gid, major, minor = (int(shape[n]) for n in ("uid", "gid", "major", "minor"))
        may = shape["may"]
        return Stat(cast(Any, shape["kind"]), int(shape["mode"], 8), uid, gid, major, minor, "r" in may, "w" in may)
    if verb == "nvml":
        return json.loads("\n".join(body))
    data = base64.b64decode("".join(body), validate=True) if shape["base64"] else _unescaped(body)
    return Output(int(shape["exit"]), data, b"") if verb == "run" else data


def _sections(lines: list[str], first: int) -> Iterator[tuple[int, str, list[str]]]:
    starts = [i for i in range(first, len(lines)) if lines[i].startswith("== ")]
    for start, end in zip(starts, [*starts[1:], len(lines) - (lines[-1] == "")], strict=False):
        yield start + 1, lines[start][3:], lines[start + 1 : end]


def _as_text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text or "\r" in text else text


def _escaped(text: str) -> list[str]:
    lines = text.split("\n")
    closing = [] if lines[-1] == "" else ["\\"]
    return [
        *("\\" + line if line.startswith(("== ", "\\")) else line for line in lines[: len(lines) - (not closing)]),
        *closing,
    ]


def _unescaped(body: Sequence[str]) -> bytes:
    whole = not (body and body[-1] == "\\")
    lines = [line[1:] if line.startswith("\\") else line for line in (body if whole else body[:-1])]
    return ("\n".join(lines) + ("\n" if whole and lines else "")).encode()
