"""A root cause on the page: what is wrong, what shows it, what to do, how to verify, what it explains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.text import Text

from gpudoctor.render.screen import Screen
from gpudoctor.render.story import Root, counted
from gpudoctor.report import Evidence, Finding, Fix

LABEL_WIDTH = 8
EVIDENCE_SHOWN = 4
SYMPTOMS_SHOWN = 6
SUBJECTS_SHOWN = 4
DISRUPTIONS = {
    "none": "",
    "restart_process": "restarts the process",
    "drain": "drain the node first",
    "reboot": "reboot",
    "hardware": "hardware",
}


def panel(root: Root, screen: Screen, title: str, verbosity: int) -> Iterator[Text]:
    """The root in a frame as wide as the screen, one column free on each side."""
    glyphs, finding = screen.glyphs, root.first
    inner = screen.width - 6
    sure = f" {finding.severity} {glyphs.dot} {finding.confidence} "
    filler = glyphs.across * (inner - len(title) - len(sure) - 2)
    top = Text.assemble(
        (f" {glyphs.top_left}{glyphs.across} ", "frame"),
        (title, "title"),
        (f" {filler}", "frame"),
        (sure, finding.severity),
        (f"{glyphs.across}{glyphs.top_right}", "frame"),
    )
    yield top
    for line in _body(root, screen, inner, verbosity):
        padding = " " * (inner - line.cell_len)
        yield Text.assemble((f" {glyphs.down} ", "frame"), line, padding, (f" {glyphs.down}", "frame"))
    yield Text(f" {glyphs.bottom_left}{glyphs.across * (inner + 2)}{glyphs.bottom_right}", "frame")


def _body(root: Root, screen: Screen, width: int, verbosity: int) -> Iterator[Text]:
    finding = root.first
    yield from headline(finding, screen, width)
    yield Text()
    yield from screen.wrapped(" ".join(filter(None, (finding.why, finding.impact))), width)
    yield Text()
    if len(root.findings) > 1:
        yield from _labelled(screen, "also", [also(root, screen, verbosity)], width)
    yield from _labelled(screen, "seen", seen(finding.evidence, screen, width - LABEL_WIDTH, verbosity), width)
    yield from _labelled(screen, "do", _steps(finding.fixes, screen, width - LABEL_WIDTH), width)
    if finding.verify:
        yield from _labelled(screen, "verify", screen.verbatim(finding.verify, "command"), width)
    yield from _labelled(screen, "more", [screen.text(f"gpudoctor explain {finding.code}", "command")], width)
    if root.symptoms:
        yield Text()
        yield from _explained(root, screen, width, verbosity)


def headline(finding: Finding, screen: Screen, width: int) -> Iterator[Text]:
    """Code and title; on lines of their own where they do not fit side by side."""
    code, title = screen.text(finding.code, "code"), screen.text(finding.title, "title")
    if code.cell_len + 3 + title.cell_len <= width:
        yield Text.assemble(code, "   ", title)
        return
    yield code
    yield from screen.wrapped(title, width)


def also(root: Root, screen: Screen, verbosity: int) -> Text:
    """The other subjects that show the same."""
    labels = [finding.subject.label for finding in root.findings[1:]]
    shown = labels if verbosity else labels[:SUBJECTS_SHOWN]
    rest = f" and {len(labels) - len(shown)} more" if len(labels) > len(shown) else ""
    return screen.text(f"on {', '.join(shown)}{rest}")


def seen(evidence: Sequence[Evidence], screen: Screen, width: int, verbosity: int) -> list[Text]:
    """A source and its text side by side where they fit; a source of several lines stands above them."""
    distinct = set(list(dict.fromkeys(evidence))[: None if verbosity else EVIDENCE_SHOWN])
    shown = [each for each in evidence if each in distinct]
    lines: list[Text] = []
    for source, group in groupby(shown, key=lambda each: each.source):
        words = [_witness(each, times, screen) for each, times in Counter(group).items()]
        name = screen.text(source, "note")
        if len(words) == 1 and name.cell_len + 3 + words[0].cell_len <= width:
            lines.append(Text.assemble(name, "   ", words[0]))
            continue
        lines += screen.wrapped(name, width)
        for each in words:
            lines += screen.hanging(Text("  "), each, width)
    if len(evidence) > len(shown):
        lines.append(screen.text(f"{screen.glyphs.more} {len(evidence) - len(shown)} more, with -v", "note"))
    return lines


def _witness(evidence: Evidence, times: int, screen: Screen) -> Text:
    time = Text.assemble(screen.text(evidence.time, "note"), "  ") if evidence.time else Text()
    again = f"  ({times} times)" if times > 1 else ""
    return Text.assemble(time, screen.text(evidence.text, "evidence"), (again, "note"))


def step(fix: Fix, screen: Screen) -> Text:
    cost = price(fix.needs_root, fix.disruption)
    return Text.assemble(screen.text(fix.do), (f"  ({cost})" if cost else "", "note"))


def price(needs_root: bool, disruption: str) -> str:
    """What a step takes: `as root, reboot`; empty where it takes nothing."""
    return ", ".join(filter(None, ("as root" if needs_root else "", DISRUPTIONS[disruption])))


def _steps(fixes: Sequence[Fix], screen: Screen, width: int) -> list[Text]:
    lines: list[Text] = []
    for number, fix in enumerate(fixes, 1):
        lines += screen.hanging(Text(f"{number}  "), step(fix, screen), width)
        for command in screen.verbatim(fix.command, "command") if fix.command else ():
            lines += screen.hanging(Text("   $ ", "note"), command, width)
    return lines


def _labelled(screen: Screen, label: str, lines: Sequence[Text], width: int) -> Iterator[Text]:
    """`label   first line`, the others under the first."""
    for number, line in enumerate(lines):
        lead = Text(f"{label if number == 0 else '':<{LABEL_WIDTH}}", "label")
        yield from screen.hanging(lead, line, width)


def _explained(root: Root, screen: Screen, width: int, verbosity: int) -> Iterator[Text]:
    symptoms, label = root.symptoms, root.first.subject.label
    shown = symptoms if verbosity else symptoms[:SYMPTOMS_SHOWN]
    longest = max(len(s.code) for s in shown)
    layers = max(len(s.layer) for s in shown)
    for number, symptom in enumerate(shown):
        lead = Text.assemble(
            ("explains  " if number == 0 else " " * 10, "label"),
            (f"{symptom.code:<{longest}}   ", "code"),
            (f"{symptom.layer:<{layers}}   ", "note"),
        )
        yield from screen.hanging(lead, screen.text(_without(label, symptom.title)), width)
        if verbosity:
            for line in seen(symptom.evidence, screen, width - 14, verbosity):
                yield Text.assemble(" " * 14, line)
    if len(symptoms) > len(shown):
        yield Text(
            f"{'':<10}{screen.glyphs.more} {counted(len(symptoms) - len(shown), 'more symptom')}, with -v", "note"
        )


def _without(label: str, title: str) -> str:
    """A symptom's title without the subject that the root has named."""
    rest = title.removeprefix(label).lstrip(": ")
    return rest if rest and rest != title else title
