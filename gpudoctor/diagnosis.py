"""Causes first, symptoms folded under: which finding explains which, and what to fix first."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from gpudoctor.examine import Found
from gpudoctor.finding import Finding, Severity

SLACK_SECONDS = 1.0  # lines of one event are logged out of order by about this much


class Diagnosis(msgspec.Struct, frozen=True):
    findings: tuple[Found, ...]  # roots first, then the rest, each in order of weight
    ids: tuple[str, ...]
    causes: tuple[tuple[int, ...], ...]  # for each finding, which others explain it
    roots: tuple[int, ...]  # fix the first one first

    def explains(self, index: int) -> tuple[int, ...]:
        return tuple(i for i, causes in enumerate(self.causes) if index in causes)


def identity(code: str, subject_id: str) -> str:
    """Stable across runs: the same fault on the same subject."""
    return hashlib.sha256(f"{code}\0{subject_id}".encode()).hexdigest()[:12]


def diagnose(found: Sequence[Found]) -> Diagnosis:
    merged = sorted(_merged(found), key=_weight)
    causes = [
        tuple(c for c in range(len(merged)) if c != s and explains(merged[c], merged[s])) for s in range(len(merged))
    ]
    order = sorted(range(len(merged)), key=lambda i: (bool(causes[i]), _weight(merged[i])))
    place = {old: new for new, old in enumerate(order)}
    findings = tuple(merged[i] for i in order)
    folded = tuple(tuple(sorted(place[c] for c in causes[i])) for i in order)
    return Diagnosis(
        findings,
        tuple(identity(f.code, f.finding.subject.id) for f in findings),
        folded,
        tuple(i for i, by in enumerate(folded) if not by),
    )


def explains(cause: Found, symptom: Found) -> bool:
    """Whether `cause` is why `symptom` is there: its row says so, subjects and times agree."""
    if cause.code not in symptom.row.explained_by:
        return False
    if not cause.finding.subject.related(symptom.finding.subject):
        return False
    if cause.severity is Severity.INFO and symptom.severity >= Severity.ERROR:
        return False  # what is no fault by itself broke nothing
    causes, symptoms = cause.finding.occurrences, symptom.finding.occurrences
    if not causes or not symptoms:
        return True
    window = symptom.row.explained_within_seconds
    return all(
        any(
            -SLACK_SECONDS <= s.at - c.at <= window and (c.actor is None or s.actor is None or c.actor == s.actor)
            for c in causes
        )
        for s in symptoms
    )


def _merged(found: Sequence[Found]) -> list[Found]:
    """One finding for a code and subject, with the evidence of all: the graver, and of equals the first."""
    best: dict[str, Found] = {}
    for each in found:
        key = identity(each.code, each.finding.subject.id)
        best[key] = _joined(*sorted((best[key], each), key=lambda f: -f.severity)) if key in best else each
    return list(best.values())


def _joined(kept: Found, other: Found) -> Found:
    one, two = kept.finding, other.finding
    finding = Finding(
        one.subject,
        code=one.code,
        severity=one.severity,
        confidence=max(one.confidence, two.confidence),
        evidence=dict.fromkeys((*one.evidence, *two.evidence)),
        occurrences=dict.fromkeys((*one.occurrences, *two.occurrences)),
        **{**two.values, **one.values},
    )
    return Found(kept.code, kept.layer, kept.severity, finding, kept.row)


def _weight(found: Found) -> tuple[int, int, float, str, str]:
    first = min((o.at for o in found.finding.occurrences), default=float("inf"))
    return -found.severity, found.layer.height, first, found.code, found.finding.subject.id
