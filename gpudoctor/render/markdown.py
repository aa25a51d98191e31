"""The report as Markdown, to be pasted into an issue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpudoctor.render.markup import code, escaped, fenced
from gpudoctor.render.panel import price
from gpudoctor.render.stack import gpu_names
from gpudoctor.render.story import Root, explained_by, gaps_of, roots_of
from gpudoctor.render.terminal import note, summary
from gpudoctor.report import Evidence, Finding, Report

EVIDENCE_SHOWN = 10


def render(report: Report, *, verbosity: int = 0, quiet: bool = False) -> str:
    roots = roots_of(report)
    lines: list[str] = []
    if not quiet:
        lines += _head(report)
    for number, root in enumerate(roots, 1):
        lines += ["", *_root(root, number, verbosity)]
    if not quiet:
        lines += _could_not_tell(report)
        lines += ["", f"{escaped(summary(report))} Exit code {report.exit_code}."]
    return "\n".join(lines).strip() + "\n" if any(lines) else ""


def _head(report: Report) -> Iterator[str]:
    machine = report.machine
    yield f"# gpudoctor {report.tool.version}: {report.verdict}"
    yield ""
    named = [f"node {report.host}" if report.host else "", *gpu_names(machine)]
    named += [f"driver {machine.driver_version}" if machine.driver_version else ""]
    named += [f"CUDA {machine.cuda_version}" if machine.cuda_version else ""]
    named += [f"kernel {machine.kernel}" if machine.kernel else "", report.started]
    yield ", ".join(escaped(name) for name in named if name)
    if words := note(report):
        yield ""
        yield escaped(words)
    yield ""
    yield "| layer | verdict | found | clear | could not tell | |"
    yield "|---|---|---:|---:|---:|---|"
    for each in reversed(report.layers):
        causes = ", ".join(explained_by(report, each.layer)) if each.found else ""
        why = f"explained by {causes}" if causes else ""
        yield f"| {each.layer} | {each.verdict} | {each.found} | {each.clear} | {each.could_not_tell} | {why} |"


def _root(root: Root, number: int, verbosity: int) -> Iterator[str]:
    finding = root.first
    yield f"## {number}. {escaped(finding.title)}"
    yield ""
    yield f"{code(finding.code)}, {finding.layer}, **{finding.severity}**, {finding.confidence}"
    yield ""
    yield escaped(" ".join(filter(None, (finding.why, finding.impact))))
    if len(root.findings) > 1:
        yield ""
        yield f"Also on {', '.join(escaped(other.subject.label) for other in root.findings[1:])}."
    yield from _evidence(finding.evidence, verbosity)
    yield from _steps(finding)
    if root.symptoms:
        yield ""
        yield "Explains:"
        yield ""
        yield from (f"- {code(s.code)} ({s.layer}, {s.severity}): {escaped(s.title)}" for s in root.symptoms)


def _evidence(evidence: Sequence[Evidence], verbosity: int) -> Iterator[str]:
    if not evidence:
        return
    shown = evidence if verbosity else evidence[:EVIDENCE_SHOWN]
    words = []
    for each in shown:
        place = f"{each.source}:{each.line}" if each.line else each.source
        words.append("   ".join(filter(None, (place, each.time, " ".join(each.text.split())))))
    if len(evidence) > len(shown):
        words.append(f"... {len(evidence) - len(shown)} more")
    yield ""
    yield "Seen:"
    yield ""
    yield from fenced("\n".join(words))


def _steps(finding: Finding) -> Iterator[str]:
    if finding.fixes:
        yield ""
        yield "To do:"
        yield ""
    for number, fix in enumerate(finding.fixes, 1):
        cost = price(fix.needs_root, fix.disruption)
        yield f"{number}. {escaped(fix.do)}{f' *({cost})*' if cost else ''}"
        if fix.command:
            yield from (f"   {line}".rstrip() for line in ["", *fenced(fix.command)])
    if finding.verify:
        yield ""
        yield "To verify:"
        yield ""
        yield from fenced(finding.verify)


def _could_not_tell(report: Report) -> Iterator[str]:
    gaps = gaps_of(report)
    if gaps:
        yield from ("", "## Could not tell", "")
    for group in gaps:
        yield f"- {escaped(group.reason)}: {', '.join(code(check) for check in group.checks)}"
