"""The findings on the page: what it is, why, and what to do, the roots first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from gpudoctor.allocator.explanation import Explanation
from gpudoctor.render.memory.html_sections import lines_of, text
from gpudoctor.render.panel import DISRUPTIONS, EVIDENCE_SHOWN, price
from gpudoctor.render.theme import UNICODE

_GRAVITY = ("critical", "error", "warning", "info")


def verdict(findings: Sequence[Mapping[str, Any]], explanation: Explanation) -> Iterator[str]:
    numbers = count()
    if not findings:
        said = "no findings" if explanation.failures == 0 else "memory ran out; no check can say why"
        yield f'<div class="finding ok"><h3>{text(said)}</h3></div>'
    for finding in sorted(findings, key=_order):
        yield _card(finding, numbers)


def _order(finding: Mapping[str, Any]) -> tuple[bool, int]:
    severity = str(finding.get("severity", ""))
    return bool(finding.get("caused_by")), _GRAVITY.index(severity) if severity in _GRAVITY else len(_GRAVITY)


def _card(finding: Mapping[str, Any], numbers: Iterator[int]) -> str:
    severity = str(finding.get("severity", ""))
    known = severity if severity in _GRAVITY else "info"
    said = [str(finding.get(name, "")) for name in ("severity", "confidence")]
    name = f"{UNICODE.of(known)} {' · '.join([*filter(None, said), str(finding.get('code', ''))])}"
    parts = [f'<p class="name">{text(name)}</p><h3>{text(finding.get("title", ""))}</h3>']
    parts += [f"<p>{text(finding[key])}</p>" for key in ("why", "impact") if finding.get(key)]
    parts += _seen(finding.get("evidence") or ())
    fixes = [_fix(fix, numbers) for fix in finding.get("fixes") or ()]
    parts += [f'<p class="label">do</p><ol>{"".join(fixes)}</ol>'] * bool(fixes)
    if finding.get("verify"):
        parts.append(f'<p class="label">verify</p>{command(finding["verify"], f"command-{next(numbers)}")}')
    return f'<div class="finding {known}">{"".join(parts)}</div>'


def _seen(evidence: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Under the name of each source what it says; folded where it is long, as on the terminal."""
    sources: dict[str, list[str]] = {}
    for each in evidence:
        line = f":{each['line']}" if each.get("line") else ""
        sources.setdefault(f"{each.get('source', '')}{line}", []).append(text(each.get("text", "")))
    if sources:
        rows = "".join(f"<dt>{text(source)}</dt><dd>{'<br>'.join(said)}</dd>" for source, said in sources.items())
        is_open = " open" if len(evidence) <= EVIDENCE_SHOWN else ""
        yield f'<details{is_open}><summary class="label">seen</summary><dl class="seen">{rows}</dl></details>'


def _fix(fix: Mapping[str, Any], numbers: Iterator[int]) -> str:
    line = command(fix["command"], f"command-{next(numbers)}") if fix.get("command") else ""
    disruption = str(fix.get("disruption", ""))
    cost = price(bool(fix.get("needs_root")), disruption) if disruption in DISRUPTIONS else ""
    paid = f' <span class="dim">({text(cost)})</span>' if cost else ""
    return f"<li>{text(fix.get('do', ''))}{paid}{line}</li>"


def command(words: object, identity: str) -> str:
    """A line to copy."""
    return (
        f'<div class="command"><code id="{identity}">{lines_of(words)}</code>'
        f'<button data-copy="{identity}">Copy</button></div>'
    )
