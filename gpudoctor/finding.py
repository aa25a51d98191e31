"""What a check says: a code, a subject, values and evidence. Prose is in the code's row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Severity(IntEnum):
    INFO = 1
    WARNING = 2
    ERROR = 3
    CRITICAL = 4

    def __str__(self) -> str:
        return self.name.lower()


class Confidence(IntEnum):
    POSSIBLE = 1
    LIKELY = 2
    CERTAIN = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Subject:
    """What a finding is about.

    `within` holds ids of what the subject lies in or uses: the bridges on a GPU's path, the GPU
    of a process. Findings explain each other only along these lines.
    """

    kind: str  # node, gpu, bridge, nic, nvswitch, pci, process, module, device_node, ...
    id: str  # bus id, pid, path: stable across runs on the same fault
    label: str  # "GPU 3 (0000:4b:00.0)"
    within: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.label

    @property
    def bus_id(self) -> str:
        return self.id

    def related(self, other: Subject) -> bool:
        return (
            self.kind == "node"
            or other.kind == "node"
            or self.id == other.id
            or self.id in other.within
            or other.id in self.within
        )


NODE = Subject("node", "node", "this node")


@dataclass(frozen=True, slots=True)
class Evidence:
    source: str  # path, NVML function or log
    text: str
    line: int | None = None
    time: str | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time at which it happened; `actor` (a pid) limits what it can explain to that actor."""

    at: float  # seconds on the clock of its log
    actor: str | None = None


@dataclass(frozen=True, slots=True, init=False)
class Finding:
    """`Finding(subject=link.device, evidence=link.seen("width"), width=8, width_possible=16)`

    code: only where the check yields several. severity: overrides the row's. values: everything
    else, for the row's templates and the JSON.
    """

    subject: Subject
    code: str | None
    severity: Severity | None
    confidence: Confidence
    evidence: tuple[Evidence, ...]
    occurrences: tuple[Occurrence, ...]
    values: dict[str, Any] = field(hash=False)

    def __init__(
        self,
        subject: Subject,
        *,
        code: str | None = None,
        severity: Severity | None = None,
        confidence: Confidence = Confidence.CERTAIN,
        evidence: Iterable[Evidence] = (),
        occurrences: Iterable[Occurrence] = (),
        **values: Any,
    ) -> None:
        put = object.__setattr__
        put(self, "subject", subject)
        put(self, "code", code)
        put(self, "severity", severity)
        put(self, "confidence", confidence)
        put(self, "evidence", tuple(evidence))
        put(self, "occurrences", tuple(occurrences))
        put(self, "values", values)
