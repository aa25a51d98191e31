"""A machine in the making: what it answers, surface by surface.

The scripts make_*.py beside this file write the recordings *.node of machines that nobody lent us, after the
kernel's documentation of each file and public facts about the hardware. Run one from anywhere:

    python tests/nodes/make_hgx_2s.py
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpudoctor.node.archive import Archive, Key, dump, parse_section
from gpudoctor.node.surface import Output
from gpudoctor.unread import Gap, Unread

NODES = Path(__file__).parent
UPTIME_SECONDS = 777726


def cpu_mask(numbers: Iterable[int], bits: int) -> str:
    """A set of CPUs or nodes as /proc/PID/status has it: words of 32 bits, highest first."""
    held = sum(1 << number for number in numbers)
    words = range((bits + 31) // 32 - 1, -1, -1)
    return ",".join(f"{held >> 32 * word & 0xFFFFFFFF:08x}" for word in words)


@dataclass
class Machine:
    held: dict[Key, Any] = field(default_factory=dict)
    listed: dict[str, tuple[str, ...]] = field(default_factory=dict)  # directory: names that nothing else shows
    time: float = 1795239126.0  # of the scan
    iommu: str | None = "identity"  # kind of every IOMMU group; None: there is no IOMMU
    iommu_groups: int = 0
    cpus_of_node: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def booted(self) -> int:
        return int(self.time) - UPTIME_SECONDS

    def file(self, path: str, content: str | int | bytes) -> None:
        """A text gets its line break, bytes are as they are."""
        self.held["file", path] = content if isinstance(content, bytes) else f"{content}\n".encode()

    def files(self, folder: str, contents: Mapping[str, str | int | bytes]) -> None:
        for name, content in contents.items():
            self.file(f"{folder}/{name}", content)

    def directory(self, path: str, *names: str) -> None:
        """A directory that can be listed: these names, and what else the machine holds in it."""
        self.listed[path] = (*self.listed.get(path, ()), *names)

    def link(self, path: str, target: str) -> None:
        self.held["link", path] = target

    def stat(self, path: str, shown: str) -> None:
        self.held["stat", path] = parse_section(f"stat {path} {shown}")[1]

    def nvml(self, call: str, answer: object) -> None:
        self.held["nvml", call] = answer

    def unsupported(self, call: str) -> None:
        self.held["nvml", call] = Unread(Gap.UNSUPPORTED, call, "NVML_ERROR_NOT_SUPPORTED: Not Supported")

    def packages(self, pattern: str, shown: str) -> None:
        query = f"dpkg-query -W -f ${{db:Status-Abbrev}} ${{Package}} ${{Version}}\\n {pattern}"
        self.held["run", query] = Output(0, shown.encode(), b"")

    def absent(self, verb: str, *paths: str) -> None:
        for path in paths:
            self.held[verb, path] = Unread(Gap.ABSENT, path, "No such file or directory")  # type: ignore[index]

    def archive(self) -> Archive:
        named: dict[str, set[str]] = {path: set(names) for path, names in self.listed.items()}
        for (verb, path), held in self.held.items():
            if verb in ("file", "link", "stat") and not isinstance(held, Unread):
                folders = [path[:i] for i, letter in enumerate(path) if letter == "/"]
                for folder in folders:
                    if folder in named:
                        named[folder].add(path[len(folder) + 1 :].split("/")[0])
        for path in [*named]:
            parent, _, name = path.rpartition("/")
            if parent in named:
                named[parent].add(name)
        held = {**self.held, **{("dir", path): tuple(sorted(names)) for path, names in named.items()}}
        surfaces: dict[Key, Any] = {key: held[key] for key in sorted(held)}  # type: ignore[index]
        return Archive(platform="linux", uid=0, time=self.time, redacted=True, surfaces=surfaces)

    def write(self, name: str) -> None:
        (NODES / name).write_text(dump(self.archive()))
