"""How a report is told: what is one reason, what explains what."""

from __future__ import annotations

import sample_reports
from sample_reports import finding, gap, gpu, report

from gpudoctor.render.story import explained_by, gaps_of, roots_of


def reasons(*outcomes: object) -> list[tuple[str, int]]:
    return [(group.reason, len(group.outcomes)) for group in gaps_of(report(outcomes=outcomes))]


def test_a_reason_that_differs_only_by_the_gpu_is_one() -> None:
    eight = [gap("A", "driver", f"nvmlDeviceGetX(gpu {n}): Not Supported", gpu(n)) for n in range(8)]
    assert reasons(*eight) == [("nvmlDeviceGetX(each GPU): Not Supported", 8)]


def test_the_same_reason_of_many_surfaces_is_one_line() -> None:
    many = [gap(f"C{n}", "driver", f"/proc/{name}: Permission denied (run as root)") for n, name in enumerate("abcde")]
    assert reasons(*many) == [("/proc/a, /proc/b, /proc/c and 2 more: Permission denied (run as root)", 5)]


def test_different_reasons_stay_apart_and_the_one_that_hides_most_comes_first() -> None:
    one = gap("A", "kernel", "/dev/kmsg: Operation not permitted")
    two = [gap(code, "driver", "libnvidia-ml.so.1: is not on this machine") for code in "BC"]
    assert reasons(one, *two) == [
        ("libnvidia-ml.so.1: is not on this machine", 2),
        ("/dev/kmsg: Operation not permitted", 1),
    ]


def test_roots_of_one_code_are_told_together_and_a_symptom_once() -> None:
    symptom = finding("S", "mathlib", "warning", "s", caused_by=("R@a", "R@b"))
    roots = [
        finding("R", "kernel", "error", "r", sample_reports.Subject("gpu", name, name), explains=(symptom.id,))
        for name in "ab"
    ]
    told = roots_of(report(findings=(*roots, symptom), root_causes=tuple(root.id for root in roots)))
    assert [(len(root.findings), [s.code for s in root.symptoms]) for root in told] == [(2, ["S"])]


def test_a_symptom_of_a_symptom_is_told_under_the_root() -> None:
    low = finding("LOW", "kernel", "error", "l", explains=("MID@node",))
    mid = finding("MID", "pcie", "error", "m", caused_by=(low.id,), explains=("TOP@node",))
    top = finding("TOP", "mathlib", "warning", "t", caused_by=(mid.id,))
    told = report(
        *(sample_reports.LayerVerdict(name, "error", 0, 1, 0) for name in ("kernel", "pcie", "mathlib")),
        findings=(low, mid, top),
        root_causes=(low.id,),
    )
    assert [s.code for s in roots_of(told)[0].symptoms] == ["MID", "TOP"]
    assert explained_by(told, "mathlib") == ("kernel",)
    assert explained_by(told, "kernel") == ()
