"""The head of the page: what the node is, and its stack drawn as a stack, top layer on top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.text import Text

from gpudoctor.knowledge import SeverityName
from gpudoctor.render.screen import Screen
from gpudoctor.render.story import explained_by
from gpudoctor.report import LayerVerdict, Machine, Report

INDENT = 3
LAYER_WIDTH = 15
COUNT_WIDTH = 16
SEVERITIES: tuple[SeverityName, ...] = ("critical", "error", "warning", "info")
MACHINES = {"vm": "VM", "wsl1": "WSL1", "wsl2": "WSL2"}
PLATFORMS = {"darwin": "macOS", "win32": "Windows"}


def head(report: Report, screen: Screen) -> Iterator[Text]:
    """One line where the width allows it."""
    line = Text(" ")
    for part in _parts(report, screen):
        if line.plain.strip() and line.cell_len + part.cell_len + 3 > screen.width:
            yield line
            line = Text("   ")
        first, *rest = screen.wrapped(part, screen.width - 4)
        line = Text.assemble(line, "   " if line.plain.strip() else "", first)
        for more in rest:
            yield line
            line = Text.assemble("   ", more)
    yield line


def _parts(report: Report, screen: Screen) -> Iterator[Text]:
    machine = report.machine
    yield screen.text(f"{report.tool.name} {report.tool.version}", "title")
    yield screen.text(f"node {report.host or 'without a name'}")
    yield from (screen.text(words) for words in gpu_names(machine, screen.glyphs.times))
    if machine.driver_version:
        yield screen.text(f"driver {machine.driver_version}")
    if machine.cuda_version:
        yield screen.text(f"CUDA {machine.cuda_version}")
    if machine.platform != "linux":
        yield screen.text(PLATFORMS.get(machine.platform) or machine.platform)
    elif machine.virtualization:
        yield screen.text(MACHINES.get(machine.virtualization, machine.virtualization))
    if report.source.kind != "live":
        yield screen.text(f"from {report.source.name}", "note")
    yield screen.text(f"{report.duration_ms / 1e3:.2f} s", "note")


def gpu_names(machine: Machine, times: str = "x") -> list[str]:
    """`8 x NVIDIA H200`, one for each model."""
    if machine.gpus is None:
        return ["GPUs not known"]
    models = Counter(gpu.name or "GPU that does not answer" for gpu in machine.gpus)
    return [f"{count} {times} {name}" for name, count in models.items()] or ["no GPU"]


def stack(report: Report, screen: Screen) -> Iterator[Text]:
    start = next((f.layer for f in report.findings if f.id in report.root_causes[:1] and f.severity != "info"), None)
    for verdict in reversed(report.layers):
        yield from _floor(report, screen, verdict, verdict.layer == start)


def _floor(report: Report, screen: Screen, verdict: LayerVerdict, start: bool) -> Iterator[Text]:
    glyphs = screen.glyphs
    line = Text(" " * INDENT + f"{verdict.layer:<{LAYER_WIDTH}}")
    cells = [screen.text(words, style) for words, style in counts(report, screen, verdict)]
    if start:
        cells.append(Text(f"{glyphs.start} start here", "start"))
    elif verdict.found and (layers := explained_by(report, verdict.layer)):
        cells.append(Text(f"{glyphs.explained} explained by {', '.join(layers)}", "note"))
    if verdict.could_not_tell:
        cells.append(Text(f"{glyphs.unknown} {verdict.could_not_tell} could not tell", "unknown"))
    if not cells:
        cells.append(Text(f"{glyphs.nothing} nothing to examine", "nothing"))
    for number, cell in enumerate(cells):
        if number and line.cell_len + cell.cell_len > screen.width:
            yield line
            line = Text(" " * (INDENT + LAYER_WIDTH))
        line.append_text(cell)
        line.append(" " * max(2, COUNT_WIDTH - cell.cell_len))
    yield line


def counts(report: Report, screen: Screen, verdict: LayerVerdict) -> Iterator[tuple[str, str]]:
    found = Counter(f.severity for f in report.findings if f.layer == verdict.layer)
    for severity in SEVERITIES:
        if number := found[severity]:
            many = severity if severity in ("info", "critical") else f"{severity}s"
            yield f"{screen.glyphs.of(severity)} {number} {severity if number == 1 else many}", severity
    if verdict.clear and not found.keys() - {"info"}:
        yield f"{screen.glyphs.ok} {verdict.clear} clear", "ok"
