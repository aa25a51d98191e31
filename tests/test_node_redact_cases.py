"""Redaction changes no finding: every case and every recorded node, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from casebook import CASES, NODES, case_of, folders, load_node, machine

from gpudoctor.catalog import Catalog
from gpudoctor.collect.collector import collect
from gpudoctor.examine import examine
from gpudoctor.facts.kernel_log import KernelLog
from gpudoctor.node.archive import Archive, dump, load
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.node.redact import redact
from gpudoctor.parse.kernel_log import parse_kernel_log

LOG = "/var/log/of-this-case.log"


def found(node: RecordedNode, log: bytes | None) -> list[tuple[str, str, str]]:
    catalog = Catalog.installed()
    given: Any = {} if log is None else {KernelLog: parse_kernel_log(log, source="log")}
    facts = collect(node, {kind for check in catalog.checks() for kind in check.facts}, seconds=30, given=given)
    examination = examine(facts, catalog.checks(), catalog.knowledge)
    return sorted((f.code, f.finding.subject.id, str(f.severity)) for f in examination.found)


def assert_same(node: RecordedNode, log: bytes | None = None) -> None:
    surfaces: dict[Any, Any] = {**node._surfaces, **({("file", LOG): log} if log is not None else {})}
    whole = Archive(node.platform, node.uid, node.time, surfaces=surfaces, sample_seconds=node.sample_seconds)
    after = load(dump(redact(whole)))
    redacted: Any = after.surfaces.get(("file", LOG)) if log is not None else None
    assert found(RecordedNode(after, node.name), redacted) == found(node, log)


@pytest.mark.parametrize("folder", folders(), ids=lambda f: str(f.relative_to(CASES)))
def test_a_case_keeps_its_findings(folder: Path) -> None:
    case = case_of(folder)
    log = (folder / case["log"]).read_bytes() if "log" in case else None
    assert_same(machine(folder, case), log)


@pytest.mark.parametrize("name", sorted(p.name for p in NODES.glob("*.node")))
def test_a_recorded_node_keeps_its_findings(name: str) -> None:
    assert_same(load_node(name))
