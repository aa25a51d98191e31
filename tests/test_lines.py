"""Rows with `lines:`: what matches, what is made harmless, whose it is, and how long it takes."""

from __future__ import annotations

import re
import time
from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.catalog import Catalog
from gpudoctor.collect.collector import collect
from gpudoctor.examine import examine
from gpudoctor.facts.gpu_health import GpuRecovery
from gpudoctor.facts.kernel_events import KernelEvents
from gpudoctor.facts.kernel_log import KernelLog, KernelRecord, Reset
from gpudoctor.facts.pci import Inventory
from gpudoctor.finding import NODE, Finding
from gpudoctor.knowledge import LinePattern
from gpudoctor.layer import Layer
from gpudoctor.lines import findings, line_checks, match
from gpudoctor.node.archive import Archive
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.unread import Gap, Unread, hold

LONGEST = 16384  # what the kernel log's reader keeps of a line
GPU = LinePattern(
    anchor="GPU broke", pattern=r"NVRM: GPU (?P<bus_id>[0-9a-f:.]+): GPU broke (?P<how>\w+)", subject="gpu"
)


@cache
def patterns() -> dict[str, LinePattern]:
    knowledge = Catalog.installed().knowledge
    rows = {code: row for layer in Layer for code, row in knowledge.with_lines(layer).items()}
    return {f"{code}-{i}": line for code, row in rows.items() for i, line in enumerate(row.lines)}


def log_of(*texts: str, resets: tuple[Reset, ...] = (), at: float | None = 100.0, begins: bool = True) -> KernelLog:
    records = tuple(KernelRecord(t, i + 1, None if at is None else at + i, None) for i, t in enumerate(texts))
    return KernelLog(
        origin="/dev/kmsg",
        records=records,
        xids=(),
        sxids=(),
        resets=resets,
        begins_at_boot=begins,
        driver_version=None,
    )


def unknown_bus() -> Inventory:
    gap: Unread = Unread(Gap.ABSENT, "/sys", "not there")
    return Inventory(gpu_indices=hold(gap), devices=hold(gap))


def run(log: KernelLog, *lines: LinePattern) -> list[Finding]:
    return list(findings("CODE", lines or (GPU,), log, unknown_bus()))


def test_repeats_are_one_finding_with_first_three_and_last() -> None:
    texts = [f"NVRM: GPU 0000:41:00.0: GPU broke n{i}" for i in range(9)]
    (found,) = run(log_of(*texts))
    assert found.subject.kind == "gpu"
    assert found.subject.id == "0000:41:00.0"
    assert found.values["count"] == 9
    assert found.values["how"] == "n0"
    assert [e.line for e in found.evidence] == [1, 2, 3, 9]
    assert len(found.occurrences) == 9


def test_each_gpu_has_its_own_finding() -> None:
    found = run(log_of("NVRM: GPU 0000:41:00.0: GPU broke a", "NVRM: GPU 0000:42:00: GPU broke b"))
    assert [f.subject.id for f in found] == ["0000:41:00.0", "0000:42:00.0"]


def test_a_line_without_a_device_joins_those_with_one() -> None:
    bare = LinePattern(anchor="GPU broke", pattern="NVRM: GPU broke")
    texts = ("NVRM: GPU broke", "NVRM: GPU 0000:41:00.0: GPU broke a")
    assert [f.subject.id for f in run(log_of(*texts), GPU, bare)] == ["0000:41:00.0"]
    assert [f.subject.id for f in run(log_of(texts[0]), GPU, bare)] == ["node"]


def test_unless_makes_a_line_harmless() -> None:
    line = LinePattern(anchor="broke", pattern="broke", unless=("but recovered",))
    assert not run(log_of("GPU broke but recovered"), line)
    assert run(log_of("GPU broke"), line)


def test_a_message_may_run_over_lines() -> None:
    line = LinePattern(anchor="begins", pattern=r"begins\n(?:[^\n]{0,99}\n){0,4}?ends (?P<how>\w+)")
    assert run(log_of("it begins", "between", "ends badly"), line)[0].values["how"] == "badly"
    assert not run(log_of("between", "ends badly", "it begins"), line)


def test_what_a_reload_healed_is_not_found() -> None:
    texts = ("NVRM: GPU 0000:41:00.0: GPU broke a",)
    late = Reset(KernelRecord("NVRM: loading", 9, 500.0, None), None, "module loaded")
    at_once = Reset(KernelRecord("NVRM: loading", 9, 101.0, None), None, "module loaded")
    elsewhere = Reset(KernelRecord("x", 9, 500.0, None), "0000:42:00.0", "gpu reset")
    assert not run(log_of(*texts, resets=(late,)))
    assert run(log_of(*texts, resets=(at_once, elsewhere)))  # probing prints its errors just before the load line


def test_a_log_without_its_beginning_is_clear_of_nothing() -> None:
    """Of no check that reads it: Xids, lines and events alike."""
    catalog = Catalog.installed()
    checks = [c for c in catalog.checks() if {w.kind for w in c.wants if not w.optional} & {KernelLog, KernelEvents}]
    given = {KernelLog: log_of("nothing", begins=False), Inventory: unknown_bus()}
    facts = collect(RecordedNode(Archive(), "t"), {k for c in checks for k in c.facts}, seconds=20, given=given)
    outcomes = [o for o in examine(facts, checks, catalog.knowledge).outcomes if o.subject == NODE]
    assert len(outcomes) > 30
    assert {o.outcome for o in outcomes} == {"could_not_tell"}
    assert sum("overwritten" in str(o.reason) for o in outcomes) > 30


def test_a_check_for_each_row_with_lines() -> None:
    rows = Catalog.installed().knowledge.with_lines(Layer.KERNEL)
    checks = line_checks(rows, Layer.KERNEL)
    assert {check.name for check in checks} == set(rows)
    assert {check.layer for check in checks} == {Layer.KERNEL}


@pytest.mark.parametrize("name", patterns())
def test_a_pattern_is_sound(name: str) -> None:
    line = patterns()[name]
    assert not line.pattern.startswith((".*", ".+"))
    assert not re.search(r"\.[*+]|\][*+]", line.pattern), "an unbounded repeat: bound it"
    groups = re.compile(line.pattern).groupindex
    assert line.subject == "node" or {"bus_id", "gpu_id"} & set(groups)


@pytest.mark.parametrize("name", patterns())
def test_a_pattern_takes_no_time_on_hostile_text(name: str) -> None:
    line = patterns()[name]
    words = [*re.findall(r"[A-Za-z_]{3,}", line.pattern), line.anchor, "0000:41:00.0", "0x1", "1", " ", ": "]
    prefix = re.match(r"[\w :]+", line.pattern)
    seeds = [line.anchor, prefix[0] if prefix else "NVRM: ", " ".join(words), "0", "NVRM: GPU 0000:41:00.0"]
    start = time.process_time()
    for seed in seeds:
        row = (f"{seed} " * (LONGEST // (len(seed) + 1) + 1))[:LONGEST]
        match(line, [row] * 6)
    assert time.process_time() - start < 2.0


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=200), max_size=8), st.booleans())
def test_no_text_crashes_a_row(texts: list[str], prefixed: bool) -> None:
    lines = tuple(patterns().values())
    shown = [f"{line.anchor}{text}" if prefixed else text for text, line in zip(texts, lines, strict=False)]
    for found in run(log_of(*shown, at=None), *lines):
        assert found.evidence


def test_what_nvml_shows_to_be_over_is_not_found() -> None:
    listed = msgspec.structs.replace(GPU, until="listed")
    sound = msgspec.structs.replace(GPU, until="sound")
    log = log_of("NVRM: GPU 0000:41:00.0: GPU broke a")
    here = Inventory(gpu_indices={"0000:41:00.0": 0}, devices={})
    calm = GpuRecovery(subject=here.subject("0000:41:00.0"), action="none")
    asks = GpuRecovery(subject=here.subject("0000:41:00.0"), action="reset_gpu")
    assert list(findings("CODE", (GPU,), log, here))
    assert not list(findings("CODE", (listed,), log, here))
    assert list(findings("CODE", (listed,), log, unknown_bus()))
    assert list(findings("CODE", (sound,), log, here))
    assert list(findings("CODE", (sound,), log, here, [asks]))
    assert not list(findings("CODE", (sound,), log, here, [calm]))
