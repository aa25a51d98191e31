"""Runs a case: a recorded machine, what is different on it, and the verdict that is right.

A case is a folder under tests/cases with a case.yaml:

    about: one sentence
    node: h200x1.node          # under tests/nodes; without it, a machine that answers nothing
    uid: 1000                  # who scans, in place of the recording's user
    sample: 2                  # seconds between two readings; "PATH #1" below is a second one; other counters rest
    snapshot: too_much         # a memory snapshot in place of a node: a function of made_snapshots.py
    log: dmesg.txt             # this case's kernel log, in any form, in place of the node's
    files: {PATH: text, ...}   # surfaces that answer otherwise; null: absent
    dirs: {PATH: [names], ...}
    links: {PATH: target, ...}
    stats: {PATH: "char 0666 0:0 195:0 rw", ...}
    config: {BUS ID: {acs_control: 0x1d, max_payload: 128, link_width: 8, link_speed: 8.0, ...}}  # nodes/planting.py
    place: {PID: {cpus: "16-19", memory_node: 1}}    # a GPU process with its threads and children is there instead
    run: {"COMMAND LINE": what it printed, ...}
    nvml: {"nvmlDeviceGetName(gpu 0)": value, ...}
    unread: {"file PATH": denied, "nvml CALL": unsupported, "nvml CALL": "malformed NVML_ERROR_UNKNOWN", ...}
    expect: [{code: XID_31, subject: "0000:00:06.0", severity: warning}, ...]   # subject, severity optional
    forbid: [CODE, ...]        # no finding of these, at any severity
    healthy: true              # nothing at warning or above
    root: CODE                 # the first root cause; null: not judged
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import planting
import yaml

from gpudoctor.catalog import Catalog
from gpudoctor.collect.collector import collect
from gpudoctor.diagnosis import Diagnosis, diagnose
from gpudoctor.examine import Examination, examine
from gpudoctor.facts.fact import Fact, Facts
from gpudoctor.finding import Severity
from gpudoctor.node import archive
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.node.surface import Output
from gpudoctor.unread import Gap, Unread

HERE = Path(__file__).parent
CASES = HERE / "cases"
NODES = HERE / "nodes"


@dataclass(frozen=True)
class Verdict:
    examination: Examination
    diagnosis: Diagnosis

    @property
    def codes(self) -> set[str]:
        return {f.code for f in self.diagnosis.findings}

    @property
    def root(self) -> str | None:
        return self.diagnosis.findings[0].code if self.diagnosis.findings else None


def folders() -> list[Path]:
    return sorted(path.parent for path in CASES.rglob("case.yaml"))


def load_node(name: str) -> RecordedNode:
    return RecordedNode(archive.load((NODES / name).read_text()), name)


def case_of(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "case.yaml").read_text())


def machine(folder: Path, case: dict[str, Any]) -> RecordedNode:
    whole = archive.load((NODES / case["node"]).read_text()) if case.get("node") else archive.Archive()
    base = RecordedNode(whole, case.get("node", folder.name))
    changed: dict[archive.Key, Any] = {}
    for path, text in (case.get("files") or {}).items():
        changed["file", path] = text.encode() if text is not None else Unread(Gap.ABSENT, path, "No such file")
    for path, names in (case.get("dirs") or {}).items():
        changed["dir", path] = tuple(names) if names is not None else Unread(Gap.ABSENT, path, "No such directory")
    for path, target in (case.get("links") or {}).items():
        changed["link", path] = target if target is not None else Unread(Gap.ABSENT, path, "No such link")
    for path, shown in (case.get("stats") or {}).items():
        absent = Unread(Gap.ABSENT, path, "No such file")
        changed["stat", path] = archive.parse_section(f"stat {path} {shown}")[1] if shown is not None else absent
    for bus_id, values in (case.get("config") or {}).items():
        changed.update(planting.configured(base.with_surfaces(changed), bus_id, values))
    for pid, where in (case.get("place") or {}).items():
        changed.update(planting.placed(base, int(pid), where.get("cpus"), where.get("memory_node")))
    for command, printed in (case.get("run") or {}).items():
        changed["run", command] = Output(0, printed.encode(), b"")
    for call, value in (case.get("nvml") or {}).items():
        changed["nvml", call] = value
    for surface, gap in (case.get("unread") or {}).items():
        verb, _, key = surface.partition(" ")
        name, _, detail = gap.partition(" ")
        changed[verb, key] = Unread(Gap[name.upper()], key, detail or name)  # type: ignore[index]
    if case.get("sample"):
        changed.update(planting.standing_still({**whole.surfaces, **changed}))
    node = base.with_surfaces(changed)
    node.uid = case.get("uid", node.uid)
    node.sample_seconds = case.get("sample", node.sample_seconds)
    return node


def facts_of(folder: Path, case: dict[str, Any]) -> Facts:
    wanted = {kind for check in Catalog.installed().checks() for kind in check.facts}
    given: dict[type[Fact], Any] = {}
    if "log" in case:
        from gpudoctor.facts.kernel_log import KernelLog
        from gpudoctor.parse.kernel_log import parse_kernel_log

        text = (folder / case["log"]).read_bytes()
        given[KernelLog] = parse_kernel_log(text, source=case["log"])
    if "snapshot" in case:
        from gpudoctor.facts.allocator import AllocatorSnapshot

        given[AllocatorSnapshot] = (fact_of_snapshot(case["snapshot"]),)
    return collect(machine(folder, case), wanted, seconds=30, given=given)


def fact_of_snapshot(name: str) -> Fact:
    import made_snapshots

    from gpudoctor.allocator.explain import explain
    from gpudoctor.allocator.fact import fact_of

    snapshot = getattr(made_snapshots, name)()
    return fact_of(explain(snapshot, snapshot.devices[0], source=f"{name}.pickle"))


def verdict_of(folder: Path) -> Verdict:
    catalog = Catalog.installed()
    examination = examine(facts_of(folder, case_of(folder)), catalog.checks(), catalog.knowledge)
    return Verdict(examination, diagnose(examination.found))


def faults(folder: Path) -> list[str]:
    """What the verdict got wrong, a line each; empty where it is right."""
    case, verdict = case_of(folder), verdict_of(folder)
    found = verdict.diagnosis.findings
    wrong = []
    for wanted in case.get("expect") or []:
        same = [
            f
            for f in found
            if f.code == wanted["code"] and wanted.get("subject", f.finding.subject.id) == f.finding.subject.id
        ]
        if not same:
            wrong.append(f"missed {wanted}")
        elif "severity" in wanted and str(same[0].severity) != wanted["severity"]:
            wrong.append(f"{wanted['code']} is {same[0].severity}, not {wanted['severity']}")
    wrong += [f"wrongly found {code}" for code in case.get("forbid") or [] if code in verdict.codes]
    if case.get("healthy"):
        wrong += [f"healthy, but {f.code}" for f in found if f.severity >= Severity.WARNING]
    if case.get("root") and verdict.root != case["root"]:
        wrong.append(f"root is {verdict.root}, not {case['root']}")
    failed = [
        o
        for o in verdict.examination.outcomes
        if o.gap is not None and o.gap.gap is Gap.CRASHED and "itself failed" in o.gap.detail
    ]
    return wrong + [f"{o.check} failed: {o.reason}" for o in failed]
