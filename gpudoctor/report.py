"""The report's one shape: what every renderer gets, and what `--format json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import msgspec

from gpudoctor import __version__
from gpudoctor.diagnosis import Diagnosis
from gpudoctor.examine import Examination, Found
from gpudoctor.finding import Severity
from gpudoctor.finding import Subject as FindingSubject
from gpudoctor.knowledge import Disruption, SeverityName, fill
from gpudoctor.layer import Layer

SCHEMA_VERSION = "1"
ConfidenceName = Literal["certain", "likely", "possible"]
Verdict = Literal["ok", "info", "warning", "error", "critical", "unknown"]


class Tool(msgspec.Struct, frozen=True):
    name: str
    version: str


class Source(msgspec.Struct, frozen=True):
    kind: Literal["live", "recording", "files"]
    name: str


class Subject(msgspec.Struct, frozen=True):
    kind: str
    id: str
    label: str


class Evidence(msgspec.Struct, frozen=True):
    source: str
    line: int | None
    time: str | None
    text: str


class Fix(msgspec.Struct, frozen=True):
    do: str
    command: str | None
    needs_root: bool
    disruption: Disruption


class LayerVerdict(msgspec.Struct, frozen=True):
    layer: str
    verdict: Verdict
    clear: int
    found: int
    could_not_tell: int


class Finding(msgspec.Struct, frozen=True):
    id: str
    code: str
    layer: str
    severity: SeverityName
    confidence: ConfidenceName
    subject: Subject
    title: str
    why: str
    impact: str | None
    evidence: tuple[Evidence, ...]
    values: dict[str, Any]
    fixes: tuple[Fix, ...]
    verify: str | None
    references: tuple[str, ...]
    caused_by: tuple[str, ...]
    explains: tuple[str, ...]


class Outcome(msgspec.Struct, frozen=True):
    check: str
    layer: str
    subject: Subject
    outcome: Literal["found", "clear", "could_not_tell"]
    reason: str | None
    ms: float


class Gpu(msgspec.Struct, frozen=True):
    index: int | None
    bus_id: str
    name: str | None
    uuid: str | None


class WorkingDirectory(msgspec.Struct, frozen=True):
    path: str
    file_system: str
    device: str
    medium: str


class Host(msgspec.Struct, frozen=True):
    """The host beside the GPUs. None: could not be told, or there is none."""

    cpu: str | None = None
    sockets: int | None = None
    cores: int | None = None  # of all sockets
    threads: int | None = None
    smt: bool | None = None
    numa_nodes: int | None = None
    memory_bytes: int | None = None
    swap_bytes: int | None = None
    governors: tuple[str, ...] = ()
    frequency_driver: str | None = None
    working_directory: WorkingDirectory | None = None


class Machine(msgspec.Struct, frozen=True):
    """What the node is, for the report's head and for fleet scripts."""

    platform: str
    kernel: str | None = None
    virtualization: str | None = None
    driver_version: str | None = None
    cuda_version: str | None = None
    gpus: tuple[Gpu, ...] | None = None  # None: could not be told
    host: Host | None = None


class Report(msgspec.Struct, frozen=True):
    schema_version: str
    tool: Tool
    source: Source
    host: str | None
    started: str
    duration_ms: float
    verdict: Verdict
    exit_code: int
    machine: Machine
    layers: tuple[LayerVerdict, ...]
    findings: tuple[Finding, ...]
    root_causes: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


def compose(
    examination: Examination,
    diagnosis: Diagnosis,
    *,
    source: Source,
    machine: Machine,
    host: str | None,
    started: str,
    duration_ms: float,
    layers: Sequence[Layer],
    fail_on: Severity,
    require: Sequence[Layer],
) -> Report:
    verdicts = tuple(_layer_verdict(layer, examination, diagnosis) for layer in layers)
    findings = tuple(_finding(diagnosis, i) for i in range(len(diagnosis.findings)))
    worst = max((f.severity for f in diagnosis.findings), default=None)
    return Report(
        schema_version=SCHEMA_VERSION,
        tool=Tool("gpudoctor", __version__),
        source=source,
        host=host,
        started=started,
        duration_ms=round(duration_ms, 1),
        verdict=_verdict(worst, sum(v.clear for v in verdicts), sum(v.could_not_tell for v in verdicts)),
        exit_code=_exit_code(worst, verdicts, fail_on, require),
        machine=machine,
        layers=verdicts,
        findings=findings,
        root_causes=tuple(diagnosis.ids[i] for i in diagnosis.roots),
        outcomes=tuple(
            Outcome(o.check, str(o.layer), _subject(o.subject), o.outcome, o.reason, o.ms) for o in examination.outcomes
        ),
    )


def _exit_code(
    worst: Severity | None, layers: Sequence[LayerVerdict], fail_on: Severity, require: Sequence[Layer]
) -> int:
    if worst is not None and worst >= fail_on:
        return 1
    return 3 if unexamined(layers, require) else 0


def unexamined(layers: Sequence[LayerVerdict], require: Sequence[Layer]) -> tuple[str, ...]:
    examined = {v.layer for v in layers if v.clear or v.found}
    return tuple(str(layer) for layer in require if str(layer) not in examined)


def _verdict(worst: Severity | None, clear: int, could_not_tell: int) -> Verdict:
    """What found nothing because it mostly could not look is unknown, not ok."""
    if worst is not None:
        return _name(worst)
    return "ok" if clear > could_not_tell else "unknown"


def _name(severity: Severity) -> SeverityName:
    return cast(SeverityName, str(severity))


def _layer_verdict(layer: Layer, examination: Examination, diagnosis: Diagnosis) -> LayerVerdict:
    own = [o.outcome for o in examination.outcomes if o.layer is layer]
    found = [f.severity for f in diagnosis.findings if f.layer is layer]
    clear, could_not_tell = own.count("clear"), own.count("could_not_tell")
    verdict = _verdict(max(found, default=None), clear, could_not_tell)
    return LayerVerdict(str(layer), verdict, clear, len(found), could_not_tell)


def _subject(subject: FindingSubject) -> Subject:
    return Subject(subject.kind, subject.id, subject.label)


def _finding(diagnosis: Diagnosis, index: int) -> Finding:
    found: Found = diagnosis.findings[index]
    finding, row = found.finding, found.row

    def filled(template: str) -> str:
        return fill(template, finding.subject, finding.values)

    return Finding(
        id=diagnosis.ids[index],
        code=found.code,
        layer=str(found.layer),
        severity=_name(found.severity),
        confidence=cast(ConfidenceName, str(finding.confidence)),
        subject=_subject(finding.subject),
        title=filled(row.title),
        why=filled(row.why).strip(),
        impact=filled(row.impact).strip() if row.impact else None,
        evidence=tuple(Evidence(e.source, e.line, e.time, e.text) for e in finding.evidence),
        values=finding.values,
        fixes=tuple(
            Fix(filled(f.do), filled(f.command) if f.command else None, f.needs_root, f.disruption)
            for f in row.fixes(finding.values)
        ),
        verify=filled(row.verify) if row.verify else None,
        references=row.sources,
        caused_by=tuple(diagnosis.ids[i] for i in diagnosis.causes[index]),
        explains=tuple(diagnosis.ids[i] for i in diagnosis.explains(index)),
    )
