"""`gpudoctor memory --format html`: one page that opens from disk, without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpudoctor import __version__
from gpudoctor.allocator.explanation import Explanation
from gpudoctor.allocator.snapshot import Device, Snapshot
from gpudoctor.render.memory.html_findings import verdict
from gpudoctor.render.memory.html_sections import figures, text, trust
from gpudoctor.render.memory.html_tables import tables
from gpudoctor.render.memory.payload import MOST_STEPS, Payload, payload
from gpudoctor.render.memory.words import best_of, settings_words, thousands
from gpudoctor.render.story import counted

PARTS = Path(__file__).parent / "page"
SCRIPTS = ("decode", "record", "words", "timeline", "blocks", "page")
_GAP = re.compile(r"\{\{(\w+)\}\}")


def html_page(
    explanation: Explanation,
    snapshot: Snapshot,
    device: Device,
    findings: Sequence[Mapping[str, Any]] = (),
    *,
    most_steps: int = MOST_STEPS,
) -> str:
    """`findings`: as the JSON report has them. `most_steps`: of the block map."""
    record = payload(explanation, snapshot, device, most=most_steps)
    commands = {str(fix.get("command")) for finding in findings for fix in finding.get("fixes") or ()}
    return _filled(
        "page.html",
        title=text(f"{explanation.source}: GPU memory"),
        style=_part("page.css"),
        head=_head(explanation),
        verdict="".join(verdict(findings, explanation)),
        figures="".join(figures(explanation)),
        record=_filled("record.html", thinned=_thinned(record)) if record.texts["steps"] else "",
        tables="".join(tables(explanation, best_of(explanation, commands))) + "".join(trust(explanation)),
        foot=text(f"gpudoctor {__version__}. Nothing on this page is loaded from elsewhere, and nothing leaves it."),
        payload=record.json(),
        script="(() => {\n" + "".join(_part(f"{name}.js") for name in SCRIPTS) + "})();",
    )


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _filled(name: str, **parts: str) -> str:
    return _GAP.sub(lambda gap: parts[gap[1]], _part(name))


def _head(explanation: Explanation) -> str:
    facts = "".join(f"<li>{text(fact)}</li>" for fact in _facts(explanation))
    return f'<h1>{text(explanation.source)}</h1><ul class="facts">{facts}</ul>'


def _facts(explanation: Explanation) -> Iterator[str]:
    yield f"device {explanation.device} of {explanation.device_count}"
    yield settings_words(explanation.settings_text)
    if explanation.torch_era:
        yield f"torch {explanation.torch_era}"
    if explanation.events:
        yield f"{thousands(explanation.events)} events, {thousands(explanation.allocations)} allocations"
    if explanation.failures:
        yield counted(explanation.failures, "failed allocation")


def _thinned(record: Payload) -> str:
    if not record.left_out_below:
        return ""
    shown, lived = thousands(record.texts["steps"]), thousands(record.left_out_below)
    words = (
        f"The block map has {shown} steps of {thousands(record.texts['events'])} events: blocks that lived for fewer "
        f"than {lived} events are left out of it, but for those alive at the peak, at the last failure and at the end. "
        "The timeline, the figures and the tables are of all events."
    )
    return f'<p class="note">{text(words)}</p>'
