"""The report as a page for a terminal: the node, its stack, where to start, what could not be seen."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from gpudoctor.render.host import host
from gpudoctor.render.panel import also, headline, panel, step
from gpudoctor.render.screen import Screen
from gpudoctor.render.stack import MACHINES, PLATFORMS, head, stack
from gpudoctor.render.story import GapGroup, Root, counted, gaps_of, roots_of
from gpudoctor.report import Report

GAPS_SHOWN = 6
CHECKS_SHOWN = 6


def render(report: Report, screen: Screen, *, verbosity: int = 0, quiet: bool = False) -> str:
    lines = findings(report, screen, verbosity) if quiet else _page(report, screen, verbosity)
    return screen.printed(lines)


def _page(report: Report, screen: Screen, verbosity: int) -> Iterator[Text]:
    yield from head(report, screen)
    if verbosity and report.machine.host:
        yield from host(report.machine.host, screen)
    yield Text()
    if report.layers:
        yield from stack(report, screen)
        yield Text()
    if words := note(report):
        yield from _indented(screen.wrapped(words, screen.width - 2))
        yield Text()
    if report.findings:
        yield from findings(report, screen, verbosity)
        yield Text()
    gaps = gaps_of(report)
    inline = len(gaps) == 1 and not report.findings and len(summary(report, gaps)) + 11 <= screen.width
    if gaps and not (inline and not verbosity):
        yield from _could_not_tell(gaps, screen, verbosity)
        yield Text()
    if verbosity > 1:
        yield from _outcomes(report, screen)
        yield Text()
    *lines, last = screen.wrapped(summary(report, gaps if inline and not verbosity else ()), screen.width - 2)
    code = Text(f"exit {report.exit_code}", "note")
    fits = last.cell_len + code.cell_len + 4 <= screen.width
    yield from _indented([*lines, Text.assemble(last, "   ", code)] if fits else [*lines, last, code])


def note(report: Report) -> str:
    """What kind of machine this is, where that limits what can be seen."""
    machine = report.machine
    if machine.platform != "linux":
        name = PLATFORMS.get(machine.platform, machine.platform)
        return (
            f"This is {name}. The kernel log, the PCI bus, /proc and NVML are out of reach here: gpudoctor examines "
            "Linux nodes. A recording of one (gpudoctor scan --node FILE.node) can be examined on this machine."
        )
    if (machine.virtualization or "").startswith("wsl"):
        name = MACHINES.get(machine.virtualization or "", "WSL")
        return (
            f"This is {name}. Windows owns the GPU and its kernel driver: the kernel log, the PCI bus and the driver's "
            "modules are out of reach from here; what NVML answers is examined."
        )
    if not report.layers:
        return (
            "No check of this version examines a node for the layers and codes that were asked for; see: gpudoctor "
            "checks. Those of the layer allocator examine a memory snapshot: gpudoctor memory SNAPSHOT.pickle."
        )
    if machine.gpus == () and not report.findings:
        return "There is no GPU on this node: none on the PCI bus and none that NVML lists. The rest was checked."
    return ""


def findings(report: Report, screen: Screen, verbosity: int) -> Iterator[Text]:
    roots = roots_of(report)
    grave = [root for root in roots if root.first.severity != "info"]
    for number, root in enumerate(grave):
        if number == 0 or verbosity:
            if number:
                yield Text()
            yield from panel(root, screen, "Start here" if number == 0 else f"Root cause {number + 1}", verbosity)
        else:
            yield Text()
            yield from _further(root, screen)
    notes = [root for root in roots if root.first.severity == "info"]
    if grave and notes:
        yield Text()
    for root in notes:
        yield from _worth_knowing(root, screen, verbosity)


def _further(root: Root, screen: Screen) -> Iterator[Text]:
    """A further root in a few lines: the first step, and what it explains."""
    finding, width = root.first, screen.width - 5
    lead = Text(f" {screen.glyphs.of(finding.severity)} ", finding.severity)
    word = Text(f"{finding.severity}  ", finding.severity)
    lines = list(headline(finding, screen, width - word.cell_len))
    yield Text.assemble(lead, word, lines[0])
    for line in lines[1:]:
        yield Text.assemble("   ", line)
    if len(root.findings) > 1:
        yield from _under(screen, "also", also(root, screen, 0), width)
    if finding.fixes:
        yield from _under(screen, "do", step(finding.fixes[0], screen), width)
        copied = finding.fixes[0].command
        for command in screen.verbatim(copied, "command") if copied else ():
            yield from screen.hanging(Text(" " * 13 + "$ ", "note"), command, screen.width - 1)
    yield from _under(screen, "more", screen.text(f"gpudoctor explain {finding.code}", "command"), width)
    if root.symptoms:
        codes = ", ".join(dict.fromkeys(symptom.code for symptom in root.symptoms))
        yield from _under(screen, "explains", screen.text(codes), width)


def _under(screen: Screen, label: str, words: Text, width: int) -> Iterator[Text]:
    yield from _indented(screen.hanging(Text(f"{label:<10}", "label"), words, width), 3)


def _worth_knowing(root: Root, screen: Screen, verbosity: int) -> Iterator[Text]:
    finding = root.first
    lead = Text.assemble((f" {screen.glyphs.info} info  ", "info"), screen.text(finding.code, "code"), "   ")
    if lead.cell_len > screen.width // 2:
        yield lead
        lead = Text(" " * 9)
    words = finding.title
    if len(root.findings) > 1:
        others = also(root, screen, verbosity).plain if verbosity else f"on {counted(len(root.findings) - 1, 'other')}"
        words += f"; also {others}"
    yield from screen.hanging(lead, words, screen.width - 1)


def _could_not_tell(gaps: tuple[GapGroup, ...], screen: Screen, verbosity: int) -> Iterator[Text]:
    yield Text(" Could not tell", "title")
    shown = gaps if verbosity else gaps[:GAPS_SHOWN]
    for group in shown:
        lead = Text(f"   {screen.glyphs.unknown} ", "unknown")
        reason, whose = screen.text(group.reason), screen.text(_whose(group, verbosity), "note")
        if lead.cell_len + reason.cell_len + 3 + whose.cell_len < screen.width:
            yield Text.assemble(lead, reason, "   ", whose)
            continue
        yield from screen.hanging(lead, reason, screen.width - 1)
        yield from _indented(screen.wrapped(whose, screen.width - 10), 9)
    if len(gaps) > len(shown):
        more = counted(len(gaps) - len(shown), "more reason")
        checks = counted(sum(len(g.outcomes) for g in gaps[len(shown) :]), "check")
        yield Text(f"   {screen.glyphs.more} {more} for {checks}, with -v", "note")


def _whose(group: GapGroup, verbosity: int) -> str:
    if len(group.outcomes) == 1:
        outcome = group.outcomes[0]
        return outcome.check if outcome.subject.kind == "node" else f"{outcome.check} for {outcome.subject.label}"
    shown = group.checks if verbosity else group.checks[:CHECKS_SHOWN]
    rest = len(group.checks) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _outcomes(report: Report, screen: Screen) -> Iterator[Text]:
    glyphs = screen.glyphs
    marks = {
        "found": (glyphs.error, "error"),
        "clear": (glyphs.ok, "ok"),
        "could_not_tell": (glyphs.unknown, "unknown"),
    }
    longest = max((len(outcome.check) for outcome in report.outcomes), default=0)
    yield Text(" Every outcome", "title")
    for outcome in report.outcomes:
        glyph, style = marks[outcome.outcome]
        lead = Text.assemble((f"   {glyph} ", style), (f"{outcome.layer:<14}", "note"), f"{outcome.check:<{longest}}  ")
        said = f"{outcome.outcome.replace('_', ' ')}, {outcome.subject.label}, {outcome.ms:.1f} ms"
        yield from screen.hanging(lead, said, screen.width - 1, "note")
        if outcome.reason:
            yield from _indented(screen.wrapped(outcome.reason, screen.width - 10, "note"), 9)


def summary(report: Report, gaps: tuple[GapGroup, ...] = ()) -> str:
    """The last line; a single reason for what could not be told stands in it."""
    clear = sum(verdict.clear for verdict in report.layers)
    untold = sum(verdict.could_not_tell for verdict in report.layers)
    why = f" ({gaps[0].reason})" if gaps else ""
    blind = f", {untold} could not tell{why}" if untold else ""
    if report.findings:
        found = f"{', '.join(_tally(report))}, {clear} clear"
    elif clear:
        found = f"No findings: {clear} clear"
    elif untold:
        return f"Nothing could be examined: {untold} could not tell{why}."
    else:
        found = "Nothing to examine"
    return f"{found}{blind}."


def _tally(report: Report) -> Iterator[str]:
    faults = [f for f in report.findings if f.severity != "info"]
    roots = sum(f.id in report.root_causes for f in faults)
    yield counted(roots, "root cause") if faults else "No faults"
    if len(faults) > roots:
        yield counted(len(faults) - roots, "symptom")
    if len(report.findings) > len(faults):
        yield f"{len(report.findings) - len(faults)} worth knowing"


def _indented(lines: list[Text], columns: int = 1) -> Iterator[Text]:
    for line in lines:
        yield Text.assemble(" " * columns, line)
