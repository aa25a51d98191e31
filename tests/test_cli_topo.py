"""`gpudoctor topo` as a person or a script meets it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from test_cli_command import COMMAND, HEADER, refused

from gpudoctor.cli import run

NODES = Path(__file__).parent / "nodes"
HGX = str(NODES / "made-hgx-2s.node")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--format", "markdown"], "unknown format 'markdown'; known are terminal, json, dot or svg"),
        (["--node", "/nowhere.node"], "cannot read /nowhere.node: No such file or directory"),
        (["--node", HGX, "--root", "/host"], "--node and --root exclude each other"),
        (["--node", HGX, "--sample", "1s"], "--node and --sample exclude each other"),
        (["--timeout", "soon"], "--timeout 'soon' is no duration"),
        (["--sample", "15s"], "--sample 15s leaves a scan of 20 s no time"),
        (["-o", "/nowhere/node.svg"], "cannot write /nowhere/node.svg: there is no directory /nowhere"),
        (["more"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert sentence in refused(capsys, "topo", *arguments)


def test_a_recorded_node_is_drawn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["topo", "--node", HGX]) == 0
    page = capsys.readouterr().out
    assert "8 x NVIDIA H200" in page
    assert page.count("NVLink 18 x 26.6 GB/s") == 8
    assert max(map(len, page.split("\n"))) <= 80


def test_the_findings_are_those_of_a_scan(capsys: pytest.CaptureFixture[str]) -> None:
    node = str(NODES / "h200x4-faults.node")
    assert run(["topo", "--node", node, "--format", "json"]) == 0
    drawn = json.loads(capsys.readouterr().out)["findings"]
    assert run(["scan", "--node", node, "--format", "json"]) in (0, 1)
    scanned = json.loads(capsys.readouterr().out)
    layers = {"kernel", "driver", "pcie", "topology"}
    assert {f["id"] for f in drawn} == {f["id"] for f in scanned["findings"] if f["layer"] in layers}
    assert {f["id"] for f in drawn if f["root"]} <= {*scanned["root_causes"]}
    assert any(f["at"] for f in drawn)


@pytest.mark.parametrize("form", ["terminal", "json", "dot", "svg"])
def test_every_form_goes_to_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str) -> None:
    target = tmp_path / "node"
    assert run(["topo", "--node", HGX, "--format", form, "-o", str(target)]) == 0
    assert capsys.readouterr().out == ""
    text = target.read_text()
    assert "0000:19:00.0" in text or "19:00.0" in text
    if form == "svg":
        assert ElementTree.fromstring(text).tag.endswith("svg")


def test_ascii_and_no_color(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topo", "--node", HGX, "--ascii", "--no-color"]) == 0
    page = capsys.readouterr().out
    assert page.isascii()
    assert "|- GPU 0" in page


def test_a_recording_that_holds_nothing_is_drawn_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.node"
    path.write_text(HEADER)
    for form in ("terminal", "json", "dot", "svg"):
        assert run(["topo", "--node", str(path), "--format", form]) == 0
    assert "This recording does not hold" in capsys.readouterr().out


def test_another_system_says_that_only_linux_shows_its_buses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "mac.node"
    path.write_text(HEADER.replace("platform linux", "platform darwin"))
    assert run(["topo", "--node", str(path)]) == 0
    assert "This is macOS" in capsys.readouterr().out


def test_this_machine_is_drawn_in_time(tmp_path: Path) -> None:
    target = tmp_path / "topo.json"
    began = time.monotonic()
    arguments = ["topo", "--timeout", "5", "--format", "json", "-o", str(target)]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert time.monotonic() - began < 10
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads(target.read_text())["source"] == {"kind": "live", "name": "live"}


def test_help_names_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topo", "--help"]) == 0
    page = capsys.readouterr().out
    assert "gpudoctor topo " in page
    assert "terminal, json, dot or svg" in page


def test_forms_that_are_not_asked_for_are_not_loaded() -> None:
    script = (
        "import sys; from gpudoctor.cli import run\n"
        f"run(['topo', '--node', {HGX!r}, '--format', 'dot', '-o', '/dev/null'])\n"
        "print([m for m in ('gpudoctor.render.topo.svg', 'gpudoctor.render.screen', 'pynvml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.rstrip() == "[]"
