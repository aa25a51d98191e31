"""Facts to checks to outcomes: found, clear, could not tell; a gap costs one subject only."""

from __future__ import annotations

from collections.abc import Iterator

from gpudoctor.check import Check, check
from gpudoctor.examine import Examination, examine
from gpudoctor.facts.fact import Fact, Facts, SubjectFact, fact, source
from gpudoctor.finding import NODE, Finding, Subject
from gpudoctor.knowledge import Knowledge, Row
from gpudoctor.layer import Layer
from gpudoctor.unread import Gap, Unread, hold


@fact
class Fan(SubjectFact):
    subject: Subject
    rpm: int = source("/sys/{subject.id}/fan")


@fact
class Room(Fact):
    hot: bool


class OneRow(Knowledge):
    def row(self, code: str, layer: Layer | None = None) -> Row:
        return Row(title=code, severity="error", why="", fix=(), sources=())


def stopped(fan: Fan) -> Iterator[Finding]:
    if fan.rpm == 0:
        yield Finding(fan.subject, evidence=fan.seen("rpm"))


def stopped_in_heat(fan: Fan, room: Room) -> Iterator[Finding]:
    if room.hot and fan.rpm == 0:
        yield Finding(fan.subject)


def uneven(fans: tuple[Fan, ...]) -> Iterator[Finding]:
    yield Finding(NODE, spread=max(f.rpm for f in fans) - min(f.rpm for f in fans))


def broken(fan: Fan) -> Iterator[Finding]:
    yield Finding(fan.subject)
    raise ZeroDivisionError("a defect")


for function in (stopped, stopped_in_heat, uneven, broken):
    function.__module__ = "pack.driver"


def fans(*rpms: int | Unread) -> tuple[Fan, ...]:
    return tuple(Fan(Subject("fan", f"fan{i}", f"fan {i}"), hold(rpm)) for i, rpm in enumerate(rpms))


def run(function: object, facts: Facts) -> Examination:
    marked: Check = check("FAN_STOPPED")(function).__check__  # type: ignore
    return examine(facts, [marked], OneRow((), lambda layer: {}))


def outcomes(examination: Examination) -> list[tuple[str, str]]:
    return [(o.subject.id, o.outcome) for o in examination.outcomes]


DENIED = Unread(Gap.DENIED, "/sys/fan1/fan", "Permission denied", "run as root")


def test_each_subject_gets_its_own_outcome() -> None:
    examination = run(stopped, Facts({Fan: fans(0, DENIED, 900)}))
    assert outcomes(examination) == [("fan0", "found"), ("fan1", "could_not_tell"), ("fan2", "clear")]
    assert examination.outcomes[1].reason == "/sys/fan1/fan: Permission denied (run as root)"
    assert [f.finding.subject.id for f in examination.found] == ["fan0"]
    assert examination.found[0].finding.evidence[0].source == "/sys/fan0/fan"


def test_a_fact_that_was_not_read_is_never_clear() -> None:
    assert outcomes(run(stopped, Facts({Fan: DENIED}))) == [("node", "could_not_tell")]
    assert outcomes(run(stopped, Facts({}))) == [("node", "could_not_tell")]


def test_a_fact_that_does_not_apply_gives_no_outcome() -> None:
    assert outcomes(run(stopped, Facts({Fan: None}))) == []
    assert outcomes(run(stopped_in_heat, Facts({Fan: fans(0), Room: None}))) == []


def test_a_second_fact_that_is_unread_is_a_gap_for_each_subject() -> None:
    examination = run(stopped_in_heat, Facts({Fan: fans(0, 5), Room: DENIED}))
    assert outcomes(examination) == [("fan0", "could_not_tell"), ("fan1", "could_not_tell")]


def test_a_check_may_ask_for_all_subjects() -> None:
    examination = run(uneven, Facts({Fan: fans(100, 900)}))
    assert examination.found[0].finding.values == {"spread": 800}


def test_a_defect_in_a_check_costs_that_check_only_and_what_it_said_stands() -> None:
    examination = run(broken, Facts({Fan: fans(1)}))
    assert outcomes(examination) == [("fan0", "found")]
