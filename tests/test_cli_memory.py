"""`gpudoctor memory` as a person or a script meets it."""

from __future__ import annotations

import gzip
import json
import lzma
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import made_snapshots
import msgspec
import pytest
import sample_memory
from allocator_snapshots import ERAS, STACK, Recording, training_step
from hypothesis import given
from hypothesis import strategies as st
from sample_memory import NAMES, judged
from test_cli_command import COMMAND, refused
from test_cli_terminal import on_a_terminal

from gpudoctor.allocator.explain import explain
from gpudoctor.catalog import Catalog
from gpudoctor.cli import memory, run
from gpudoctor.cli.refusal import Refusal
from gpudoctor.finding import Severity
from gpudoctor.render.memory.json import render, schema

SCHEMA = Path(__file__).parent.parent / "docs" / "schema" / "memory.schema.json"
MIB = 1 << 20
BASE = 0x7F00_0000_0000
WHAT_IF = {
    "settings",
    "cap_bytes",
    "fits",
    "ooms",
    "first_oom",
    "allocated_peak_bytes",
    "requested_peak_bytes",
    "reserved_peak_bytes",
    "reserved_peak_range_bytes",
    "segments_peak",
    "device_allocs",
    "device_frees",
    "retries",
    "confidence",
}


def fragmented() -> Recording:
    """Under default settings: half of two segments of 40 MiB is freed, and 60 MiB more do not fit into 130."""
    made = Recording("2.11")

    def blocks(segment: int, *sizes: int) -> None:
        made.event("segment_alloc", segment, sum(sizes) * MIB)
        at = segment
        for size in sizes:
            made.event("alloc", at, size * MIB, stack=STACK)
            at += size * MIB

    def free(address: int, size: int) -> None:
        for action in ("free_requested", "free_completed"):
            made.event(action, address, size * MIB, stack=STACK)

    first, second = BASE + 1024 * MIB, BASE
    blocks(first, 40)
    free(first, 40)
    made.event("alloc", first, 20 * MIB, stack=STACK)
    made.event("alloc", first + 20 * MIB, 20 * MIB, stack=STACK)
    blocks(second, 40)
    free(second, 40)
    made.event("alloc", second, 20 * MIB, stack=STACK)
    made.event("alloc", second + 20 * MIB, 20 * MIB, stack=STACK)
    free(first, 20)
    free(second, 20)
    made.event("oom", 1 << 36, 60 * MIB, stack=STACK)
    for segment in (first, second):
        halves = [(20 * MIB, 0, "inactive"), (20 * MIB, 20 * MIB, "active_allocated", STACK)]
        made.segment(segment, halves)
    return made


@pytest.fixture
def snapshot(tmp_path: Path) -> str:
    return str(fragmented().write(tmp_path / "oom.pickle"))


def told(capsys: pytest.CaptureFixture[str], *arguments: str, codes: tuple[int, ...] = (0, 1)) -> Any:
    code = run(["memory", *arguments, "--format", "json"])
    said = capsys.readouterr()
    assert said.err == ""
    assert code in codes
    made = json.loads(said.out)
    assert made["exit_code"] == code
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(made)
    return made


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--device", "7"], "there is no device 7: the snapshot holds device 0"),
        (["--device", "-1"], "--device '-1' is no whole number from 0"),
        (["--device", "gpu"], "--device 'gpu' is no whole number"),
        (["--what-if", "foo:1"], "--what-if 'foo:1': no allocator setting is called 'foo'"),
        (["--what-if", "max_split_size_mb:1"], "max_split_size_mb must be at least 20"),
        (["--what-if", "backend:cudaMallocAsync"], "cudaMallocAsync is the driver's own allocator"),
        (["--cap", "much"], "--cap 'much' is no size; write 6.6GiB, 512MiB, 7g or a number of bytes"),
        (["--cap", "0"], "--cap '0' is no size"),
        (["--cap", "-3g"], "--cap '-3g' is no size"),
        (["--cap", "9" * 400], "is no size"),
        (["--cap", "nan"], "is no size"),
        (["--top", "0"], "--top '0' is no whole number from 1"),
        (["--top", "x"], "--top 'x' is no whole number"),
        (["--on-oom", "die"], "'die'; known are stop or skip"),
        (["--format", "svg"], "unknown format 'svg'; known are terminal, json or html"),
        (["--fail-on", "never"], "unknown level 'never'"),
        (["-o", "/nowhere/a.html"], "cannot write /nowhere/a.html: there is no directory /nowhere"),
        (["more"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(
    capsys: pytest.CaptureFixture[str], snapshot: str, arguments: list[str], sentence: str
) -> None:
    assert sentence in refused(capsys, "memory", snapshot, *arguments)


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_what_is_no_snapshot_is_one_sentence_and_exit_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    whole = fragmented().pickled()
    contents = {
        "empty": b"",
        "text": b"CUDA out of memory. Tried to allocate 40 MiB\n",
        "hostile": pickle.dumps({"segments": [Hostile(proof)]}),
        "truncated": whole[: len(whole) // 2],
        "other": pickle.dumps({"weights": [1, 2, 3]}),
        "number": pickle.dumps(7),
        "nothing": pickle.dumps({"segments": [], "device_traces": [[]]}),
        "xz": lzma.compress(whole)[:200],
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        sentence = refused(capsys, "memory", str(path))
        assert len(sentence) < 300
        if name != "nothing":
            assert sentence.startswith(str(path)), sentence
    assert not proof.exists()
    assert "Is a directory" in refused(capsys, "memory", str(tmp_path))
    assert "No such file" in refused(capsys, "memory", str(tmp_path / "nowhere.pickle"))
    assert "missing argument" in refused(capsys, "memory").lower()


def test_the_settings_given_are_replayed_in_the_order_given(capsys: pytest.CaptureFixture[str], snapshot: str) -> None:
    texts = ["max_split_size_mb:128", "default", "expandable_segments:True", " max_split_size_mb : 128 "]
    asked = [word for text in texts for word in ("--what-if", text)]
    made = told(capsys, snapshot, "--cap", "0.127GiB", *asked)
    assert [each["settings"] for each in made["what_if"]] == texts
    for each in made["what_if"]:
        assert each.keys() >= WHAT_IF
        assert each["cap_bytes"] == int(0.127 * 2**30)
        low, high = each["reserved_peak_range_bytes"]
        assert low <= each["reserved_peak_bytes"] <= high
    default, expandable = made["what_if"][1:3]
    assert (default["fits"], default["ooms"], default["first_oom"]) == (False, 1, 6)
    assert default["requested_peak_bytes"] == 80 * MIB
    assert (expandable["fits"], expandable["first_oom"]) == (True, None)
    assert expandable["reserved_peak_bytes"] <= 120 * MIB
    assert made["best"] == "expandable_segments:True"
    assert made["export"] == "export PYTORCH_ALLOC_CONF=expandable_segments:True"


def test_fragmentation_is_found_as_a_scan_finds_things(capsys: pytest.CaptureFixture[str], snapshot: str) -> None:
    made = told(capsys, snapshot, "--cap", "130MiB", codes=(1,))
    found = {each["code"]: each for each in made["findings"]}
    assert "OOM_FRAGMENTATION" in found
    assert found["OOM_FRAGMENTATION"]["layer"] == "allocator"
    assert found["OOM_FRAGMENTATION"]["id"] in made["root_causes"]
    assert made["verdict"] == "error"
    assert made["recorded"]["ooms"] == 1
    assert {moment["name"] for moment in made["moments"]} == {"peak", "out of memory", "end"}
    assert run(["memory", snapshot, "--fail-on", "critical", "-o", "/dev/null"]) == 0


def test_all_are_more_than_the_sensible_ones(capsys: pytest.CaptureFixture[str], snapshot: str) -> None:
    sensible = [each["settings"] for each in told(capsys, snapshot)["what_if"]]
    every = [each["settings"] for each in told(capsys, snapshot, "--what-if", "all")["what_if"]]
    assert sensible[0] == "default"
    assert {*sensible} < {*every}
    mine = "max_split_size_mb:77"
    both = [each["settings"] for each in told(capsys, snapshot, "--what-if", mine, "--what-if", "all")["what_if"]]
    assert both == [mine, *every]


def test_skip_goes_on_after_a_failure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = fragmented()
    made.event("oom", 1 << 36, 61 * MIB)
    path = str(made.write(tmp_path / "twice.pickle"))
    arguments = [path, "--cap", "130MiB", "--what-if", "default"]
    assert told(capsys, *arguments, "--on-oom", "skip")["what_if"][0]["ooms"] == 2
    assert told(capsys, *arguments)["what_if"][0]["ooms"] == 1


def test_the_device_that_failed_is_chosen_and_others_on_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = Recording("2.11", devices=3)
    for _ in range(4):
        made.event("alloc", BASE, MIB, device=2)
        made.event("free_completed", BASE, MIB, device=2)
    made.event("oom", 0, 40 * MIB, device=1)
    path = str(made.write(tmp_path / "three.pickle"))
    assert told(capsys, path)["device"] == 1
    assert told(capsys, path, "--device", "2")["device"] == 2
    assert "the snapshot holds devices 1, 2" in refused(capsys, "memory", path, "--device", "0")


def test_a_snapshot_without_events_gives_what_it_has(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = Recording("2.11")
    made.segment(BASE, [(15 * MIB, 0, "inactive"), (15 * MIB, 15 * MIB, "active_allocated", STACK)])
    path = str(made.write(tmp_path / "state.pickle"))
    said = told(capsys, path)
    assert said["what_if"] == []
    assert said["fidelity"] is None
    assert said["notes"]
    assert said["moments"][-1]["largest_free_blocks"][0]["bytes"] == 15 * MIB
    assert run(["memory", path]) in (0, 1)
    page = capsys.readouterr().out
    assert "15 MiB free" in page
    assert "nothing could be replayed" in page


@pytest.mark.parametrize("era", ERAS)
def test_every_era_is_explained(capsys: pytest.CaptureFixture[str], tmp_path: Path, era: str) -> None:
    path = str(training_step(era).write(tmp_path / "a.pickle", form="torch"))
    assert told(capsys, path)["moments"]
    assert run(["memory", path]) in (0, 1)
    assert "device 0" in capsys.readouterr().out


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_compressed_files_too(capsys: pytest.CaptureFixture[str], tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "oom.pickle.packed"
    path.write_bytes(pack(fragmented().pickled()))
    assert told(capsys, str(path))["source"] == {"kind": "files", "name": "oom.pickle.packed"}


@pytest.mark.parametrize("form", ["terminal", "json", "html"])
def test_every_form_goes_to_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, snapshot: str, form: str
) -> None:
    target = tmp_path / "page"
    assert run(["memory", snapshot, "--format", form, "-o", str(target)]) in (0, 1)
    assert capsys.readouterr().out == ""
    text = target.read_text()
    assert "oom.pickle" in text
    assert "max_split_size_mb:64" in text


def test_top_limits_rows_everywhere(capsys: pytest.CaptureFixture[str], snapshot: str) -> None:
    made = told(capsys, snapshot, "--top", "1")
    assert [len(moment["worn_segments"]) for moment in made["moments"]] == [0, 1, 1]
    assert len(made["pins"]) == 1


def test_piped_output_has_no_progress_and_terminal_pages_fit(snapshot: str) -> None:
    done = subprocess.run([*COMMAND, "memory", snapshot], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (0, 1)
    assert done.stderr == ""
    assert max(map(len, done.stdout.split("\n"))) <= 100


PROGRESS = """
import time
from gpudoctor.cli.spinner import working
said = ["reading 1 %"]
with working(lambda: said[0]):
    time.sleep(0.8)
    said[0] = "reading\x1b[2J 97 %"
    time.sleep(0.4)
"""


def test_progress_on_a_terminal_says_how_far_it_is() -> None:
    seen = on_a_terminal([sys.executable, "-c", PROGRESS])
    assert "reading 1 %" in seen
    assert "reading\\x1b[2J 97 %" in seen
    assert seen.endswith("\r\x1b[K")


def test_forms_that_are_not_asked_for_are_not_loaded(snapshot: str) -> None:
    unwanted = (
        "rich",
        "pynvml",
        "gpudoctor.render.memory.html",
        "gpudoctor.render.memory.terminal",
        "gpudoctor.collect",
    )
    script = (
        "import sys; from gpudoctor.cli import run\n"
        f"run(['memory', {snapshot!r}, '--format', 'json', '-o', '/dev/null'])\n"
        f"print([m for m in {unwanted!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.rstrip() == "[]"


@pytest.mark.parametrize(
    ("given_", "count"),
    [("6.6GiB", int(6.6 * 2**30)), ("512MiB", 512 * MIB), ("7g", 7 << 30), ("7GB", 7 << 30), ("123456", 123456)],
)
def test_sizes_are_read(given_: str, count: int) -> None:
    assert memory.size("--cap", given_) == count


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_refusal(text: str) -> None:
    try:
        count = memory.size("--cap", text)
    except Refusal as refusal:
        count, text = 1, str(refusal)
        assert text.startswith("--cap ")
    assert 0 < count <= memory.LARGEST


def test_published_schema_is_current() -> None:
    assert SCHEMA.read_text() == schema(), "write it anew: gpudoctor checks --write-docs docs"


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_explained_follows_the_schema(name: str) -> None:
    text = render(getattr(sample_memory, name)(), judged(name), rows=10)
    assert text.isascii()
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(text))


@pytest.mark.parametrize("packages", [(), ("vllm",)])
def test_the_best_settings_and_their_command_are_the_findings_own(packages: tuple[str, ...]) -> None:
    """What does not go together with a package in the stacks is not called best beside a finding that avoids it."""
    snapshot = made_snapshots.in_pieces()
    told = msgspec.structs.replace(explain(snapshot, snapshot.devices[0]), packages=packages)
    report = memory.judged(told, Catalog.installed(), Severity.ERROR, began=0)
    said = json.loads(render(told, report, rows=1))
    assert report.findings[0].fixes[0].command == said["export"]
    assert said["export"].endswith(said["best"])
    assert ("expandable" in said["best"]) is not bool(packages)


@pytest.mark.parametrize("made", ["in_pieces_under_a_fraction", "too_much_under_a_fraction", "crowded", "leak"])
def test_evidence_tells_sizes_with_their_unit(made: str) -> None:
    snapshot = getattr(made_snapshots, made)()
    told = explain(snapshot, snapshot.devices[0], what_if=["default"])
    report = memory.judged(told, Catalog.installed(), Severity.ERROR, began=0)
    said = [each.text for finding in report.findings for each in finding.evidence]
    assert said
    assert not [text for text in said if re.search(r"[0-9]{6}", text)]
