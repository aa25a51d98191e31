"""What explains what: codes, subjects, times and actors must all agree."""

from __future__ import annotations

from gpudoctor.diagnosis import diagnose, explains, identity
from gpudoctor.examine import Found
from gpudoctor.finding import NODE, Finding, Occurrence, Severity, Subject
from gpudoctor.knowledge import Row
from gpudoctor.layer import Layer

BRIDGE = Subject("bridge", "0000:40:01.0", "bridge")
GPU0 = Subject("gpu", "0000:41:00.0", "GPU 0", ("0000:40:01.0",))
GPU1 = Subject("gpu", "0000:61:00.0", "GPU 1", ("0000:60:01.0",))


def found(
    code: str,
    subject: Subject = GPU0,
    *,
    by: tuple[str, ...] = (),
    at: tuple[float, ...] = (),
    actor: str | None = None,
    severity: Severity = Severity.ERROR,
    layer: Layer = Layer.KERNEL,
) -> Found:
    row = Row(title=code, severity="error", why="", fix=(), sources=(), explained_by=by, explained_within_seconds=60)
    occurrences = [Occurrence(t, actor) for t in at]
    return Found(code, layer, severity, Finding(subject, occurrences=occurrences), row)


def test_the_same_subject_is_related_and_another_gpu_is_not() -> None:
    assert explains(found("CAUSE"), found("SYMPTOM", by=("CAUSE",)))
    assert not explains(found("CAUSE", GPU1), found("SYMPTOM", by=("CAUSE",)))
    assert not explains(found("CAUSE"), found("SYMPTOM"))


def test_a_bridge_explains_the_gpu_behind_it_and_the_node_everything() -> None:
    assert explains(found("CAUSE", BRIDGE), found("SYMPTOM", GPU0, by=("CAUSE",)))
    assert not explains(found("CAUSE", BRIDGE), found("SYMPTOM", GPU1, by=("CAUSE",)))
    assert explains(found("CAUSE", NODE), found("SYMPTOM", GPU1, by=("CAUSE",)))


def test_a_cause_never_comes_after_its_symptom_nor_long_before() -> None:
    symptom = found("SYMPTOM", by=("CAUSE",), at=(100.0,))
    assert explains(found("CAUSE", at=(99.0,)), symptom)
    assert explains(found("CAUSE", at=(100.5,)), symptom), "lines of one event come out of order by a second"
    assert not explains(found("CAUSE", at=(105.0,)), symptom)
    assert not explains(found("CAUSE", at=(10.0,)), symptom)
    assert explains(found("CAUSE"), symptom), "without a time on both sides, time says nothing"


def test_one_occurrence_that_nothing_explains_makes_it_a_root() -> None:
    cause = found("CAUSE", at=(100.0,))
    assert not explains(cause, found("SYMPTOM", by=("CAUSE",), at=(101.0, 5000.0)))


def test_the_fault_of_one_process_does_not_explain_another_process() -> None:
    symptom = found("SYMPTOM", by=("CAUSE",), at=(101.0,), actor="454")
    assert explains(found("CAUSE", at=(100.0,), actor="454"), symptom)
    assert not explains(found("CAUSE", at=(100.0,), actor="455"), symptom)
    assert explains(found("CAUSE", at=(100.0,)), symptom), "a hardware cause reaches every process"


def test_roots_come_first_ordered_by_severity_layer_and_time() -> None:
    diagnosis = diagnose(
        [
            found("SYMPTOM", by=("CAUSE",), severity=Severity.CRITICAL),
            found("LATER", GPU1, at=(50.0,)),
            found("CAUSE", at=(70.0,)),
            found("HIGHER", GPU1, layer=Layer.DRIVER, at=(1.0,)),
        ]
    )
    assert [f.code for f in diagnosis.findings] == ["LATER", "CAUSE", "HIGHER", "SYMPTOM"]
    assert diagnosis.roots == (0, 1, 2)
    assert diagnosis.causes[3] == (1,)
    assert diagnosis.explains(1) == (3,)


def test_one_finding_for_a_code_and_subject_the_graver_one() -> None:
    diagnosis = diagnose([found("A", severity=Severity.INFO, at=(3.0,)), found("A", at=(5.0,)), found("A", GPU1)])
    assert [f.severity for f in diagnosis.findings] == [Severity.ERROR, Severity.ERROR]
    assert [o.at for o in diagnosis.findings[0].finding.occurrences] == [5.0, 3.0], "with what both saw"
    assert set(diagnosis.ids) == {identity("A", GPU0.id), identity("A", GPU1.id)}


def test_ids_are_stable() -> None:
    assert identity("XID_79", "0000:41:00.0") == "53bc1e7f01e9"
