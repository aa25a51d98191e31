"""NVLink of one GPU, and C2C to its own CPU."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.facts.sampling import Counted
from gpudoctor.finding import Subject


class NvLink(msgspec.Struct, frozen=True):
    number: int
    up: bool
    version: int | None  # NVML's number; None: a link that is down may not tell
    peer: Literal["gpu", "switch", "cpu", "unknown"]
    peer_bus_id: str | None  # None: behind an NVSwitch that this machine does not see, or down
    speed_mb_per_s: int | None  # one direction


@fact
class GpuNvLinks(SubjectFact):
    """Unread (unsupported) where the GPU has no NVLink; empty where it could have and the driver counts none."""

    subject: Subject
    links: tuple[NvLink, ...] = source("nvmlDeviceGetNvLinkState")
    replays: Counted = source("nvmlDeviceGetNvLinkErrorCounter")  # all links together
    recoveries: Counted = source("nvmlDeviceGetNvLinkErrorCounter")
    flit_crc_errors: Counted = source("nvmlDeviceGetNvLinkErrorCounter")
    c2c: bool = source("nvmlDeviceGetC2cModeInfoV1")

    @property
    def up(self) -> tuple[NvLink, ...]:
        return tuple(link for link in self.links if link.up)
