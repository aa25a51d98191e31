"""The text of a recording: what goes in comes out, and nonsense is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.node.archive import Archive, Key, MalformedArchive, dump, load
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.node.recording import RecordingNode
from gpudoctor.node.surface import NvmlCall, Output, Stat
from gpudoctor.unread import Gap, Unread

HELD: dict[Key, Any] = {
    ("dir", "/odd"): ("", "== file /x", "\\back", "plain"),
    ("file", "/binary"): b"\0\xff",
    ("file", "/gone"): Unread(Gap.ABSENT, "/gone", "No such file or directory"),
    ("file", "/text"): b"== like a section\n\\\nno newline at the end",
    ("link", "/l"): "../x y",
    ("nvml", "nvmlDeviceGetName(gpu 0)"): "NVIDIA H200",
    ("nvml", "nvmlDeviceGetName(gpu 1)"): Unread(Gap.LOST, "nvmlDeviceGetName(gpu 1)", "NVML_ERROR_GPU_IS_LOST: x"),
    ("run", "dmesg -T"): Output(1, b"a\nb\n", b""),
    ("stat", "/dev/nvidia0"): Stat("char", 0o666, 0, 0, 195, 0, True, False),
}


@given(st.dictionaries(st.sampled_from(["/a", "/b c"]), st.binary(max_size=40) | st.text().map(str.encode)))
def test_any_file_comes_back(files: dict[str, bytes]) -> None:
    held: dict[Key, Any] = {("file", path): data for path, data in files.items()}
    assert load(dump(Archive(surfaces=held))).surfaces == held


def test_every_surface_comes_back() -> None:
    assert load(dump(Archive("linux", 1000, 1763695300.25, True, HELD))) == Archive(
        "linux", 1000, 1763695300.25, True, HELD
    )


@given(st.text(max_size=300) | st.text(max_size=200).map(lambda t: f"gpudoctor-node 1\nplatform x\nuid 0\ntime 0\n{t}"))
def test_no_text_breaks_the_loader(text: str) -> None:
    try:
        loaded = load(text)
    except MalformedArchive:
        return
    assert load(dump(loaded)).surfaces.keys() == loaded.surfaces.keys()


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("", "is no recording"),
        ("gpudoctor-node 99", "of version 99"),
        ("gpudoctor-node 1\nplatform linux", "lacks uid"),
        ("gpudoctor-node 1\nplatform linux\nuid 0\ntime nan", "broken header"),
        ("gpudoctor-node 1\nplatform linux\nuid 0\ntime 1e300", "broken header"),
        ("gpudoctor-node 1\nplatform linux\nuid 0\ntime 0\n== unread file /x lazy\n[]", "unknown gap 'lazy'"),
    ],
)
def test_what_is_no_recording_is_refused(broken: str, why: str) -> None:
    with pytest.raises(MalformedArchive, match=why):
        load(broken)


def test_a_recording_answers_like_the_machine_it_recorded() -> None:
    machine = RecordedNode(Archive(surfaces=HELD), "made up")
    recording = RecordingNode(machine)
    asked = [NvmlCall("nvmlDeviceGetName", 1), NvmlCall("nvmlDeviceGetName", 0)]

    def questions(node: Any) -> list[Any]:
        return [
            node.nvml(asked), node.read("/text"), node.read("/gone"), node.list("/odd"), node.link("/l"),
            node.stat("/dev/nvidia0"), node.run(["dmesg", "-T"]),
        ]  # fmt: skip

    heard = questions(recording)
    archive = recording.archive()
    assert list(archive.surfaces) == sorted(archive.surfaces)
    assert questions(RecordedNode(load(dump(archive)), "again")) == heard == questions(machine)


def test_a_recording_with_samples_answers_both_readings() -> None:
    again: dict[Key, Any] = {("file", "/counter"): b"7\n", ("file", "/counter #1"): b"9\n"}
    recording = RecordingNode(RecordedNode(Archive(surfaces=again, sample_seconds=1.5), "made up"))
    assert (recording.read("/counter"), recording.read("/counter", sample=1)) == (b"7\n", b"9\n")
    node = RecordedNode(load(dump(recording.archive())), "again")
    assert (node.read("/counter"), node.read("/counter", sample=1), node.sample_seconds) == (b"7\n", b"9\n", 1.5)
