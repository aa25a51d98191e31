"""Memory snapshots of every torch since 1.13 become the same facts, however they were pickled."""

from __future__ import annotations

import gzip
import importlib.util
import lzma
import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from allocator_snapshots import ERAS, STACK, Recording, since, torch_pickle, training_step
from hypothesis import given, settings
from hypothesis import strategies as st

from gpudoctor.allocator import compressed, pickle_bytes, pickle_pieces
from gpudoctor.allocator.reader import read_snapshot
from gpudoctor.allocator.settings import UNLIMITED
from gpudoctor.allocator.snapshot import NO_STACK, Action, Frame, InvalidSnapshot, Snapshot

BASE = 0x7F12_3400_0000
WRITERS = [("python", protocol) for protocol in range(6)] + [("torch", 2)]


def read(tmp_path: Path, content: bytes) -> Snapshot:
    path = tmp_path / "snapshot.pickle"
    path.write_bytes(content)
    return read_snapshot(path)


def plainly(record: dict[str, Any]) -> list[list[tuple[Any, ...]]]:
    """The events of each device, as a program would take them from the whole pickle."""
    return [
        [
            (
                event["action"],
                event.get("addr", event.get("device_free")),
                event["size"],
                event["stream"],
                event.get("time_us", 0),
                tuple((frame["name"], frame["filename"], frame["line"]) for frame in event.get("frames", ())),
                event.get("pool_id", (0, 0)),
            )
            for event in trace
        ]
        for trace in record["device_traces"]
    ]


def as_read(snapshot: Snapshot) -> list[list[tuple[Any, ...]]]:
    events: list[list[tuple[Any, ...]]] = [[] for _ in range(snapshot.device_count)]
    for device in snapshot.devices:
        trace = device.trace
        for place, action in enumerate(trace.actions):
            stack = snapshot.stacks[trace.stacks[place]] if trace.stacks[place] != NO_STACK else ()
            events[device.index].append(
                (
                    Action(action).name.lower(),
                    trace.addresses[place],
                    trace.sizes[place],
                    trace.streams[place],
                    trace.times_us[place],
                    tuple((frame.name, frame.filename, frame.line) for frame in stack),
                    snapshot.pools[trace.pools[place]] if trace.pools is not None else (0, 0),
                )
            )
    return events


@pytest.mark.parametrize(("form", "protocol"), WRITERS)
@pytest.mark.parametrize("era", ERAS)
def test_each_torch_and_each_pickler(tmp_path: Path, era: str, form: str, protocol: int) -> None:
    recording = training_step(era)
    snapshot = read(tmp_path, recording.pickled(form, protocol))
    if since(era, "2.0"):
        assert as_read(snapshot) == plainly(recording.record())
        assert snapshot.device_count == 2
    (device,) = snapshot.devices
    large, small = device.segments
    assert (large.address, large.size, large.stream, large.is_small, large.pool) == (BASE, 20 << 20, 0, False, (0, 0))
    kept, free = large.blocks
    assert (kept.address, kept.size, kept.requested, kept.state) == (BASE, 3_000_320, 3_000_001, "allocated")
    assert [frame.line for frame in snapshot.stacks[kept.stack]] == [40, 90]
    assert (free.address, free.state, free.stack) == (BASE + 3_000_320, "free", NO_STACK)
    assert (small.stream, small.blocks[0].state) == (77, "pending_free")
    assert not [note for note in snapshot.notes if "make no sense" in note]


@pytest.mark.parametrize(
    ("era", "told"),
    [
        ("1.13", "1.13"),
        ("2.0", "2.0"),
        ("2.1", "2.1"),
        ("2.2", "2.2"),
        ("2.3", "2.3 or 2.4"),
        ("2.5", "2.5 to 2.7"),
        ("2.8", "2.8 or 2.9"),
        ("2.11", "2.10 or 2.11"),
        ("2.12", "2.12 or newer"),
        ("2.14", "2.14 or newer"),
    ],
)
def test_its_keys_tell_which_torch_wrote_it(tmp_path: Path, era: str, told: str) -> None:
    assert read(tmp_path, training_step(era).pickled()).torch_era == told


def test_the_bare_list_of_segments(tmp_path: Path) -> None:
    recording = training_step("2.11")
    snapshot = read(tmp_path, pickle.dumps(recording.segments))
    assert [len(device.segments) for device in snapshot.devices] == [2]
    assert snapshot.torch_era == "2.1 or newer"
    assert any("no events" in note for note in snapshot.notes)
    assert any("no allocator settings" in note for note in snapshot.notes)


def test_equal_stacks_are_one(tmp_path: Path) -> None:
    recording = Recording()
    for size in range(1, 2001):
        recording.event("alloc", BASE + size, size, stack=STACK)
    for form, protocol in WRITERS:
        snapshot = read(tmp_path, recording.pickled(form, protocol))
        assert snapshot.stacks == [tuple(Frame(*frame) for frame in STACK)]
        assert set(snapshot.devices[0].trace.stacks) == {0}


def test_deep_stacks_and_many_devices(tmp_path: Path) -> None:
    recording = Recording("2.12", devices=9)
    deep = tuple((f"f{line}", "deep.py", line) for line in range(2500))
    for device in (3, 8):
        for number in range(1001):  # Python's pickle writes lists in pieces of 1000
            stack = deep[: (999, 1000, 1001, 2000, 2500)[number]] if number < 5 else deep[:2]
            for _ in range(2):
                recording.event("alloc", number, number, stack=stack, device=device, pool=(number % 3, 0))
    for form, protocol in WRITERS:
        snapshot = read(tmp_path, recording.pickled(form, protocol))
        assert [device.index for device in snapshot.devices] == [3, 8]
        assert snapshot.device_count == 9
        assert as_read(snapshot) == plainly(recording.record())


def test_recorded_settings(tmp_path: Path) -> None:
    text = "max_split_size_mb:200,roundup_power2_divisions:[256:1,512:2,>:8],large_segment_size_mb:64"
    divisions = {str(1 << slot): 4 if slot > 8 else 0 for slot in range(16)}
    told = {
        "PYTORCH_CUDA_ALLOC_CONF": text,
        "max_split_size": 200 << 20,
        "garbage_collection_threshold": 0.8,
        "expandable_segments": True,
        "roundup_power2_divisions": divisions,
    }
    snapshot = read(tmp_path, Recording(settings=told).pickled())
    held = snapshot.settings
    assert (held.max_split_size, held.garbage_collection_threshold, held.expandable_segments) == (200 << 20, 0.8, True)
    assert held.roundup_divisions == (0,) * 9 + (4,) * 7
    assert held.large_segment_size == 64 << 20
    assert snapshot.settings_text == text
    assert read(tmp_path, Recording().pickled()).settings.max_split_size == UNLIMITED


def test_settings_of_a_torch_that_is_not_known_yet(tmp_path: Path) -> None:
    told = {"PYTORCH_CUDA_ALLOC_CONF": "teleport:True", "expandable_segments": True}
    snapshot = read(tmp_path, Recording(settings=told).pickled())
    assert snapshot.settings.expandable_segments
    assert any("teleport" in note for note in snapshot.notes)


def test_private_pools_and_annotations(tmp_path: Path) -> None:
    recording = Recording("2.12")
    recording.event("alloc", BASE, 100, pool=(0, 1))
    recording.segment(BASE, [(2 << 20, 100, "active_allocated")], pool=(0, 1), expandable=True, kind="small")
    recording.annotate("epoch", "START", device=1)
    recording.annotate("epoch", "END", device=1)
    snapshot = read(tmp_path, recording.pickled())
    (segment,) = snapshot.devices[0].segments
    assert (segment.pool, segment.is_expandable, segment.is_small) == ((0, 1), True, True)
    assert [(name, device) for name, device, _ in snapshot.annotations] == [("epoch", 1), ("epoch (end)", 1)]


def test_events_of_a_newer_torch_stay_as_other(tmp_path: Path) -> None:
    recording = Recording("2.14")
    recording.event("annotate", BASE, 0, stack=STACK)
    recording.traces[0].append({"action": "something_new", "time_us": 7})
    recording.event("alloc", BASE, 5)
    trace = read(tmp_path, recording.pickled()).devices[0].trace
    assert list(trace.actions) == [Action.OTHER, Action.OTHER, Action.ALLOC]
    assert list(trace.times_us)[1] == 7


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    recording = Recording("2.2")
    recording.segment(BASE, [(2 << 20, 2 << 20, "active_allocated")])
    notes = " ".join(read(tmp_path, recording.pickled()).notes)
    assert "no events" in notes
    assert "no stacks" in notes
    assert "no allocator settings" in notes
    assert "512" not in notes


def test_rounded_sizes_are_told_from_a_program_that_asks_for_round_ones(tmp_path: Path) -> None:
    for requested, rounded in ((2_000_000, True), (2 << 20, False)):
        recording = Recording("2.11")
        for number in range(200):
            recording.event("alloc", BASE + number, 512 * number)
        recording.segment(BASE, [(2 << 20, requested, "active_allocated")])
        notes = " ".join(read(tmp_path, recording.pickled()).notes)
        assert ("multiple of 512" in notes) is rounded


@pytest.mark.parametrize(
    "piece",
    [
        {"action": "alloc", "addr": BASE},
        {"action": "alloc", "addr": "here", "size": 1, "stream": 0},
        {"action": "alloc", "addr": -1, "size": 1, "stream": 0},
        {"action": "alloc", "addr": 1 << 80, "size": 1, "stream": 0},
        {"action": ["alloc"], "addr": BASE, "size": 1, "stream": 0},
        {"action": "alloc", "addr": BASE, "size": 1, "stream": 0, "time_us": None},
        {"action": "alloc", "addr": BASE, "size": 1, "stream": 0, "pool_id": (1, "x")},
        {"size": 1},
        {},
        17,
        None,
        "alloc",
        [1, 2],
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malformed_event_is_left_out(tmp_path: Path, piece: Any, protocol: int) -> None:
    recording = Recording()
    recording.event("alloc", BASE, 7)
    recording.traces[0].append(piece)
    recording.event("alloc", BASE + 512, 8)
    snapshot = read(tmp_path, recording.pickled(protocol=protocol))
    trace = snapshot.devices[0].trace
    columns = (trace.addresses, trace.sizes, trace.streams, trace.times_us, trace.stacks)
    assert {len(column) for column in columns} == {2}
    assert list(trace.sizes) == [7, 8]
    assert any("1 events" in note for note in snapshot.notes) or piece == {}


@pytest.mark.parametrize(
    "change",
    [
        {"address": None},
        {"address": -5},
        {"total_size": "big"},
        {"total_size": 0},
        {"blocks": None},
        {"blocks": [1]},
        {"blocks": [{"size": 2 << 20}]},
        {"blocks": [{"size": 40 << 20, "state": "inactive"}]},
        {"blocks": [{"size": 512, "state": "resting"}]},
        {"segment_pool_id": 3},
        {"device": "cuda:0"},
        {"device": 1 << 40},
    ],
)
def test_a_malformed_segment_is_left_out(tmp_path: Path, change: dict[str, Any]) -> None:
    recording = training_step()
    recording.segments[0] = {**recording.segments[0], **change}
    snapshot = read(tmp_path, recording.pickled())
    assert len(snapshot.devices[0].segments) == 1
    assert any("1 segments" in note for note in snapshot.notes)
    recording.segments = [recording.segments[0]]
    with pytest.raises(InvalidSnapshot, match="no memory snapshot"):
        read(tmp_path, recording.pickled())


@pytest.mark.parametrize("record", [{}, {"a": 1}, 5, "text", None, {"segments": 3}, [1, 2], [{}], (1, 2)])
def test_another_pickle_is_no_snapshot(tmp_path: Path, record: Any) -> None:
    with pytest.raises(InvalidSnapshot, match="no memory snapshot"):
        read(tmp_path, pickle.dumps(record))


def test_progress_is_told(tmp_path: Path) -> None:
    recording = training_step(steps=20_000)
    path = recording.write(tmp_path / "it")
    told: list[tuple[int, int]] = []
    read_snapshot(path, lambda read, total: told.append((read, total)))
    assert len(told) > 3
    assert told == sorted(told)
    assert told[-1] == (path.stat().st_size, path.stat().st_size)


def test_compressed_whatever_its_name(tmp_path: Path) -> None:
    plain = training_step().pickled()
    expected = read(tmp_path, plain)
    half = len(plain) // 2
    for packed in (
        gzip.compress(plain),
        lzma.compress(plain),
        gzip.compress(plain[:half]) + gzip.compress(plain[half:]),
        lzma.compress(plain[:half]) + lzma.compress(plain[half:]),
    ):
        assert as_read(read(tmp_path, packed)) == as_read(expected)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd here to compress with")
def test_zstd_is_read_where_python_can(tmp_path: Path) -> None:
    plain = training_step().pickled()
    packed = subprocess.run(["zstd", "-c"], input=plain, stdout=subprocess.PIPE, check=True).stdout
    if any(importlib.util.find_spec(name.partition(".")[0]) for name in ("compression.zstd", "zstandard")):
        assert as_read(read(tmp_path, packed)) == as_read(read(tmp_path, plain))
    else:
        with pytest.raises(InvalidSnapshot, match="zstd -d"):
            read(tmp_path, packed)


@pytest.mark.parametrize("packed", [gzip.compress(b""), lzma.compress(b"")])
def test_nothing_compressed(tmp_path: Path, packed: bytes) -> None:
    with pytest.raises(InvalidSnapshot, match="nothing can be unpacked"):
        read(tmp_path, packed)


def test_zstd_without_a_module_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(compressed.importlib, "import_module", absent)
    with pytest.raises(InvalidSnapshot, match="zstd -d"):
        read(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(20))


names = st.sampled_from(["forward", "backward", "step", "é", "\ud800", ""])
frames = st.tuples(names, names, st.integers(0, 99))
events = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["alloc", "free_requested", "free_completed", "segment_alloc", "snapshot", "oom"]),
        "address": st.integers(0, (1 << 63) - 1),
        "size": st.integers(0, 1 << 45) | st.integers(0, 300),
        "stream": st.integers(0, 1 << 47),
        "stack": st.lists(frames, max_size=4).map(tuple),
        "pool": st.tuples(st.integers(0, 3), st.integers(0, 300)),
        "device": st.integers(0, 1),
        "metadata": st.sampled_from(["", "a", "a longer text"]),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=30), st.sampled_from(ERAS[1:]), st.sampled_from(WRITERS))
def test_any_events_are_read_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, made: list[dict[str, Any]], era: str, writer: tuple[str, int]
) -> None:
    recording = Recording(era, devices=2)
    for event in made:
        form_of_text = {**event, "stack": tuple((n.replace("\ud800", "s"), f, line) for n, f, line in event["stack"])}
        if writer[0] == "torch":  # C++ texts are UTF-8
            form_of_text["stack"] = tuple((n, f.replace("\ud800", "s"), at) for n, f, at in form_of_text["stack"])
        recording.event(**form_of_text)
    snapshot = read(tmp_path_factory.mktemp("any"), recording.pickled(*writer))
    assert as_read(snapshot) == plainly(recording.record())


@pytest.mark.parametrize(("form", "protocol"), WRITERS)
@pytest.mark.parametrize("era", ["2.0", "2.11", "2.12"])
def test_what_is_kept_does_not_grow_with_the_events(
    tmp_path: Path, era: str, form: str, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle_pieces, "_MOST_HELD", 1500)
    monkeypatch.setattr(pickle_bytes, "_PIECE", 4096)
    recording = Recording(era)
    for number in range(3000):
        frames = [dict(zip(("name", "filename", "line"), frame, strict=True)) for frame in STACK]
        shared: dict[str, Any] = (
            {"stack": STACK} if number % 2 else {"frames": frames}
        )  # torch 2.0 writes each stack's frames anew
        recording.event("alloc", BASE + number, number, pool=(number % 4, 1), metadata=f"step {number % 9}", **shared)
    assert as_read(read(tmp_path, recording.pickled(form, protocol))) == plainly(recording.record())


def test_one_event_after_another_however_they_are_written(tmp_path: Path) -> None:
    recording = Recording("2.12")
    for number in range(5000):
        recording.event("alloc", number << 20, number, metadata="m" * (number % 70), pool=(0, number % 400))
        recording.event("free_requested", number << 20, number, stack=STACK[: number % 3], stream=number << 30)
        if number % 97 == 0:
            recording.event("oom", 1 << 36, 1 << 30, stack=STACK)
            recording.traces[0].append({**recording.traces[0][-1], "size": "large"})
            recording.traces[0].append(dict(reversed(recording.traces[0][-3].items())))
    expected = plainly(recording.record())
    expected[0] = [event for event in expected[0] if event[2] != "large"]
    snapshot = read(tmp_path, recording.pickled())
    assert as_read(snapshot) == expected
    assert any("52 events" in note for note in snapshot.notes)


def test_torch_pickle_is_a_pickle() -> None:
    recording = training_step("2.12")
    assert pickle.loads(torch_pickle(recording.record())) == recording.record()
