"""A report put in the order in which it is told: roots by code, their symptoms, gaps by reason."""

from __future__ import annotations

import re

import msgspec

from gpudoctor.report import Finding, Outcome, Report

# a bus id, or NVML's number of a GPU: what differs between the same gap on sibling GPUs
_WHICH = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?|\bgpu \d+", re.IGNORECASE)
PLACES_SHOWN = 3


class Root(msgspec.Struct, frozen=True):
    """Root causes of one code, on one subject or on several, and all that they explain."""

    findings: tuple[Finding, ...]
    symptoms: tuple[Finding, ...]

    @property
    def first(self) -> Finding:
        return self.findings[0]


class GapGroup(msgspec.Struct, frozen=True):
    """Outcomes that could not be told for the same reason."""

    reason: str
    outcomes: tuple[Outcome, ...]

    @property
    def checks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(o.check for o in self.outcomes))


def roots_of(report: Report) -> tuple[Root, ...]:
    """In the order of fixing; a symptom of several roots is told under the first."""
    by_id = {finding.id: finding for finding in report.findings}
    groups: dict[tuple[str, str], list[Finding]] = {}
    for identity in report.root_causes:
        if (finding := by_id.get(identity)) is not None:
            groups.setdefault((finding.code, finding.severity), []).append(finding)
    told = set(report.root_causes)
    roots = []
    for findings in groups.values():
        symptoms = [s for finding in findings for s in _downstream(finding, by_id, told)]
        roots.append(Root(tuple(findings), tuple(symptoms)))
    return tuple(roots)


def _downstream(cause: Finding, by_id: dict[str, Finding], told: set[str]) -> list[Finding]:
    found: list[Finding] = []
    for identity in cause.explains:
        if identity in by_id and identity not in told:
            told.add(identity)
            found += [by_id[identity], *_downstream(by_id[identity], by_id, told)]
    return found


def gaps_of(report: Report) -> tuple[GapGroup, ...]:
    """The reason that hides most comes first. What differs only by the GPU, or by the surface, is one."""
    groups: dict[str, dict[str, list[Outcome]]] = {}
    for outcome in report.outcomes:
        if outcome.outcome == "could_not_tell":
            where, _, why = (outcome.reason or "no reason given").partition(": ")
            groups.setdefault(_WHICH.sub("*", why), {}).setdefault(_WHICH.sub("*", where), []).append(outcome)
    made = [_group(why, places) for why, places in groups.items()]
    return tuple(sorted(made, key=lambda group: -len(group.outcomes)))


def _group(why: str, places: dict[str, list[Outcome]]) -> GapGroup:
    outcomes = tuple(outcome for each in places.values() for outcome in each)
    reasons = {outcome.reason or "no reason given" for outcome in outcomes}
    if len(reasons) == 1:
        return GapGroup(reasons.pop(), outcomes)
    if len(places) == 1:
        where = next(iter(places)).replace("(*", "(each GPU").replace("*", "each GPU", 1)
        return GapGroup(f"{where}: {why}", outcomes)
    names = list(dict.fromkeys(where.partition("(")[0].replace("*", "<bus id>") for where in places))
    rest = f" and {len(names) - PLACES_SHOWN} more" if len(names) > PLACES_SHOWN else ""
    return GapGroup(f"{', '.join(names[:PLACES_SHOWN])}{rest}: {why}", outcomes)


def explained_by(report: Report, layer: str) -> tuple[str, ...]:
    """The other layers whose root causes explain everything that was found in this one."""
    by_id = {finding.id: finding for finding in report.findings}
    own = [finding for finding in report.findings if finding.layer == layer]
    if any(not finding.caused_by for finding in own):
        return ()
    causes = {by_id[root].layer for finding in own for root in _upstream(finding, by_id, set()) if root in by_id}
    return tuple(each.layer for each in report.layers if each.layer in causes - {layer})


def _upstream(symptom: Finding, by_id: dict[str, Finding], seen: set[str]) -> set[str]:
    roots: set[str] = set()
    for identity in symptom.caused_by:
        cause = by_id.get(identity)
        if cause is None or identity in seen:
            continue
        seen.add(identity)
        roots |= _upstream(cause, by_id, seen) if cause.caused_by else {identity}
    return roots


def counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
