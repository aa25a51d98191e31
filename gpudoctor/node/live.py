"""This machine."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from typing import Any, Literal

from gpudoctor.node.files import Files
from gpudoctor.node.surface import NvmlCall, Output, Stat
from gpudoctor.unread import Gap, Reading, Unread

# reading these can sleep in the driver, where not even SIGKILL reaches; each process is a lane of its own
SLEEPS = (
    (re.compile(r"/proc/driver/nvidia\b"), "nvidia"),
    (re.compile(r"/sys/.*/(gpu_busy_percent|gpu_metrics|pp_\w+|mem_busy_percent|hwmon\w*/.*|ras/.*)$"), "amdgpu"),
    (re.compile(r"/proc/(?P<pid>\d+)/(cmdline|environ|maps|smaps|smaps_rollup|numa_maps)$"), "process {pid}"),
)
PCI_CONFIG = re.compile(r"/sys/(bus/pci/devices/[^/]+|devices/.+)/config")
LIBRARY = "libnvidia-ml.so.1"
LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/nvidia/lib64",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
)
DRIVER = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
BOOT = "/proc/sys/kernel/random/boot_id"


class LiveNode:
    kind: Literal["live", "recording"] = "live"
    name = "live"

    def __init__(self, root: str = "/", seconds: float = 20.0, sample_seconds: float = 0.0) -> None:
        self.sample_seconds = sample_seconds
        self.platform = sys.platform
        self.uid = os.geteuid()
        self.time = time.time()
        self._files = Files(root)
        self._is_here = self._files.root == "/" or self._same_kernel()
        self._seconds = seconds
        self._nvml = None
        if self.platform == "linux":
            from gpudoctor.node.nvml import Nvml

            self._nvml = Nvml(seconds)
            if self._is_here and _may_answer():
                self._nvml.start()

    def read(self, path: str, sample: int = 0) -> Reading[bytes]:
        if PCI_CONFIG.fullmatch(path):
            return self._config_space(path)
        lane = _lane(path)
        if lane is None or self._nvml is None:
            return self._files.read(path)
        try:
            place = self._files.place(path)
        except OSError as error:
            return self._files.unread(path, error)
        answer = self._nvml.read(place, lane)
        return Unread(answer.gap, path, answer.detail, answer.remedy) if isinstance(answer, Unread) else answer

    def list(self, path: str) -> Reading[tuple[str, ...]]:
        return self._files.list(path)

    def link(self, path: str) -> Reading[str]:
        return self._files.link(path)

    def stat(self, path: str) -> Reading[Stat]:
        return self._files.stat(path)

    def run(self, argv: Sequence[str], seconds: float = 5.0) -> Reading[Output]:
        if self._files.root != "/":
            return Unread(Gap.UNSUPPORTED, " ".join(argv), f"no program is run for the root {self._files.root}")
        from gpudoctor.node.command import run

        return run(argv, min(seconds, self._seconds))

    def nvml(self, calls: Sequence[NvmlCall]) -> tuple[Reading[Any], ...]:
        if self._nvml is None:
            gap, why = Gap.ABSENT, f"{self.platform} has no NVML"
        elif not self._is_here:
            gap, why = Gap.UNSUPPORTED, f"{self._files.root} is of another machine; NVML speaks for this one"
        else:
            return self._nvml.ask(calls)
        return tuple(Unread(gap, str(call), why) for call in calls)

    def close(self) -> None:
        """End the workers now; without it they end with this process."""
        if self._nvml is not None:
            self._nvml.close()

    def _config_space(self, path: str) -> Reading[bytes]:
        from gpudoctor.node.config_space import read_config_space

        try:
            return read_config_space(self._files.place(path))
        except OSError as error:
            return self._files.unread(path, error)

    def _same_kernel(self) -> bool:
        """Whether the root is another view of this machine, as in a container with the host mounted."""
        here = Files().read(BOOT)
        return not isinstance(here, Unread) and self._files.read(BOOT) == here


def _lane(path: str) -> str | None:
    matches = ((pattern.match(path), lane) for pattern, lane in SLEEPS)
    return next((lane.format_map(match.groupdict()) for match, lane in matches if match), None)


def _may_answer() -> bool:
    folders = [*LIBRARY_FOLDERS, *os.environ.get("LD_LIBRARY_PATH", "").split(":")]
    return any(os.path.exists(p) for p in DRIVER) or any(os.path.exists(f"{f}/{LIBRARY}") for f in folders if f)
