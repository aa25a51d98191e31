"""What a GPU did not answer."""

from __future__ import annotations

import msgspec

from gpudoctor.facts.fact import SubjectFact, fact, source
from gpudoctor.finding import Subject
from gpudoctor.unread import Unread


class UnreadField(msgspec.Struct, frozen=True):
    field: str  # GpuThermal.fan_percent
    source: str  # the NVML function behind it
    gap: Unread


@fact
class GpuGaps(SubjectFact):
    subject: Subject
    unread: tuple[UnreadField, ...] = source("NVML")
    answered: int = source("NVML")  # how many fields are known
