"""Gives facts to checks; turns what they say, and what they could not see, into outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, cast

import msgspec

from gpudoctor.check import Check
from gpudoctor.facts.fact import Fact, Facts, SubjectFact
from gpudoctor.finding import NODE, Finding, Severity, Subject
from gpudoctor.knowledge import Knowledge, Row
from gpudoctor.layer import Layer
from gpudoctor.unread import Gap, Unread

OutcomeName = Literal["found", "clear", "could_not_tell"]


class Outcome(msgspec.Struct, frozen=True):
    check: str
    layer: Layer
    subject: Subject
    outcome: OutcomeName
    gap: Unread | None
    ms: float

    @property
    def reason(self) -> str | None:
        return None if self.gap is None else str(self.gap)


class Found(msgspec.Struct, frozen=True):
    """A finding joined to its row."""

    code: str
    layer: Layer
    severity: Severity
    finding: Finding
    row: Row


class Examination(msgspec.Struct, frozen=True):
    found: tuple[Found, ...]
    outcomes: tuple[Outcome, ...]


def examine(
    facts: Facts,
    checks: Iterable[Check],
    knowledge: Knowledge,
    *,
    wanted: Callable[[str], bool] = lambda code: True,
    on: Callable[[Subject], bool] = lambda subject: True,
) -> Examination:
    """Run checks. `wanted` filters codes, `on` filters subjects (`--check`, `--skip`, `--gpu`)."""
    found: list[Found] = []
    outcomes: list[Outcome] = []
    for check in checks:
        for subject, arguments in _cases(check, facts):
            if not on(subject):
                continue
            start = time.perf_counter()
            own: list[Found] = []
            gap = arguments if isinstance(arguments, Unread) else _run(check, arguments, knowledge, own)
            own = [f for f in own if wanted(f.code) and on(f.finding.subject)]
            found += own
            outcome: OutcomeName = "found" if own else "could_not_tell" if gap else "clear"
            ms = round((time.perf_counter() - start) * 1e3, 3)
            outcomes.append(Outcome(check.name, check.layer, subject, outcome, None if own else gap, ms))
    return Examination(tuple(found), tuple(outcomes))


def _run(check: Check, arguments: dict[str, Any], knowledge: Knowledge, own: list[Found]) -> Unread | None:
    """Fill `own`; what a check said before it met a gap stands."""
    try:
        for finding in check.function(**arguments):
            own.append(_join(check, finding, knowledge))  # noqa: PERF401 (what came before an error stays)
    except Unread as gap:
        return gap
    except Exception as error:  # a defect in one check must not cost the other checks
        return Unread(Gap.CRASHED, check.name, f"the check itself failed: {type(error).__name__}: {error}")
    missing = (_incomplete(argument) for argument in arguments.values())
    return None if own else next((gap for gap in missing if gap), None)


def _incomplete(argument: Fact | tuple[Fact, ...] | None) -> Unread | None:
    return argument.incomplete() if isinstance(argument, Fact) else None


def _join(check: Check, finding: Finding, knowledge: Knowledge) -> Found:
    code = finding.code or check.name
    row = knowledge.row(code, check.layer)
    return Found(code, check.layer, finding.severity or Severity[row.severity.upper()], finding, row)


def _cases(check: Check, facts: Facts) -> Iterator[tuple[Subject, dict[str, Any] | Unread]]:
    """Each subject that the check is to judge, with its arguments or why they are missing."""
    leading = next((w for w in check.wants if w.by_subject), None)
    if leading is None:
        arguments = _arguments(check, facts, None)
        if arguments is not None:
            yield NODE, arguments
        return
    lead = facts.all(leading.kind)
    if isinstance(lead, Unread):
        yield NODE, lead
        return
    for one in lead:
        subject = cast(SubjectFact, one).subject
        arguments = _arguments(check, facts, subject)
        if arguments is not None:
            yield subject, arguments


def _arguments(check: Check, facts: Facts, subject: Subject | None) -> dict[str, Any] | Unread | None:
    """None where a fact does not apply to this machine or subject, and with it the check."""
    arguments: dict[str, Any] = {}
    for want in check.wants:
        held: Fact | tuple[Fact, ...] | Unread | None
        if want.every:
            held = facts.all(want.kind)
        elif want.by_subject:
            assert subject is not None
            held = facts.of(want.kind, subject)
        else:
            held = facts.one(want.kind)
        if held is None or isinstance(held, Unread):
            if not want.optional:
                return held
            held = None
        arguments[want.name] = held
    return arguments
