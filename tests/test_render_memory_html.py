"""The HTML page of a memory snapshot: whole, self-contained, escaped, and with the record in it, unharmed."""

from __future__ import annotations

import base64
import json
import re
import zlib
from array import array
from html.parser import HTMLParser
from random import Random
from typing import Any

import msgspec
import pytest
from sample_memory import explanation as made_explanation
from sample_memory import fragmented
from traced_allocator import STACKS, made_program

from gpudoctor.allocator.explain import explain
from gpudoctor.allocator.settings import MIB, Settings
from gpudoctor.allocator.snapshot import Action, Device, Frame, Segment, Snapshot, SnapshotBlock, Trace
from gpudoctor.render.memory.html import html_page
from gpudoctor.render.memory.payload import payload

VOID = {"meta", "link", "input", "br", "wbr"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'`& \u202eevil {{payload}}"
FINDING = {
    "id": "OOM_FRAGMENTATION@oom.pickle#0",
    "code": "OOM_FRAGMENTATION",
    "severity": "error",
    "confidence": "certain",
    "title": "1.20 GiB were free, in pieces too small",
    "why": "No free block was as large as the request.",
    "impact": None,
    "evidence": [{"source": "device_traces", "line": None, "time": None, "text": "oom 600 MiB"}],
    "fixes": [{"do": "Start it with:", "command": "export PYTORCH_ALLOC_CONF=expandable_segments:True"}],
    "verify": "gpudoctor memory oom.pickle --what-if expandable_segments:True",
    "caused_by": [],
}


class Parsed(HTMLParser):
    """Elements with their attributes; fails where one is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "h2":
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            self.scripts.append((self.elements[-1][1], data))
        elif inside == "h2":
            self.headings[-1] += data
        elif inside != "style":
            self.words += f"{data} "


def snapshot_of(**kind: Any) -> tuple[Snapshot, Device]:
    return made_program(**kind).snapshot()


def page_of(snapshot: Snapshot, device: Device, **other: Any) -> str:
    told = explain(snapshot, device, source="oom.pickle", what_if=["default", "expandable_segments:True"])
    return html_page(told, snapshot, device, [FINDING], **other)


def record_of(page: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the script reads, read again."""
    text = next(text for attributes, text in Parsed(page).scripts if attributes.get("id") == "record")
    raw = json.loads(text)
    columns = {name: zlib.decompress(base64.b64decode(column)) for name, column in raw["columns"].items()}
    return json.loads(zlib.decompress(base64.b64decode(raw["texts"]))), columns


def numbers(column: bytes) -> list[int]:
    found, number, shift = [], 0, 0
    for byte in column:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append(number)
            number = shift = 0
    return found


def summed(column: bytes) -> list[int]:
    found, last = [], 0
    for number in numbers(column):
        last += -(number + 1) // 2 if number % 2 else number // 2
        found.append(last)
    return found


@pytest.fixture(scope="module")
def failed() -> tuple[Snapshot, Device]:
    return snapshot_of(limit=900 * MIB)


def test_the_page_is_well_formed_and_in_order(failed: tuple[Snapshot, Device]) -> None:
    parsed = Parsed(page_of(*failed))
    assert parsed.headings == [
        "When memory ran out",
        "Over time",
        "Block map",
        "The same requests under other settings",
        "What pins the free memory",
        "Memory by frame",
        "Memory by kind (guessed from the frames)",
        "Private pools (CUDA graphs, MemPool)",
        "How far to trust this",
    ]
    for words in (FINDING["title"], FINDING["why"], "export PYTORCH_ALLOC_CONF=expandable_segments:True", "MiB"):
        assert str(words) in parsed.words
    identities = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    labels = {attributes["aria-labelledby"] for _, attributes in parsed.elements if "aria-labelledby" in attributes}
    copied = {attributes["data-copy"] for _, attributes in parsed.elements if "data-copy" in attributes}
    assert labels | copied <= set(identities)


def test_nothing_is_loaded_from_elsewhere(failed: tuple[Snapshot, Device]) -> None:
    page = page_of(*failed)
    parsed = Parsed(page)
    policy = next(a["content"] for t, a in parsed.elements if t == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    for tag, attributes in parsed.elements:
        assert tag not in {"iframe", "object", "embed", "img", "base"}
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not [name for name in attributes if name.startswith("on")]
    outside = r"https?://|url\(|@import|\bfetch\(|XMLHttpRequest|WebSocket|importScripts|sendBeacon|innerHTML|\beval\b"
    assert re.findall(outside, page) == []


def test_what_a_machine_says_is_shown_and_never_obeyed(failed: tuple[Snapshot, Device]) -> None:
    snapshot, device = failed
    stacks = [(Frame(HOSTILE, f"/home/{HOSTILE}.py", 3), *stack) for stack in STACKS]
    hostile = msgspec.structs.replace(snapshot, stacks=stacks, settings_text=HOSTILE)
    told = explain(hostile, device, source="a.pickle", what_if=["default"])
    told = msgspec.structs.replace(told, source=HOSTILE, notes=(HOSTILE,))
    finding = {**FINDING, "title": HOSTILE, "why": HOSTILE, "verify": HOSTILE, "severity": HOSTILE, "code": HOSTILE}
    page = html_page(told, hostile, device, [finding])
    parsed = Parsed(page)
    assert len([tag for tag, _ in parsed.elements if tag == "script"]) == 2
    assert not [tag for tag, _ in parsed.elements if tag == "img"]
    assert "\u202e" not in page
    assert HOSTILE.replace("\u202e", "\\u202e") in parsed.words
    texts, _ = record_of(page)
    assert any("alert(1)" in frame and "\u202e" not in frame for frame in texts["frames"])


@pytest.mark.parametrize("settings", ["", "expandable_segments:True", "max_split_size_mb:64"])
def test_the_record_comes_through(settings: str) -> None:
    snapshot, device = snapshot_of(settings=settings, limit=900 * MIB, seed=3)
    trace = device.trace
    texts, columns = record_of(page_of(snapshot, device))
    base, unit = int(texts["base"], 16), texts["unit"]
    kinds, places = columns["kind"], summed(columns["place"])
    assert unit == 512
    assert texts["events"] == len(trace)
    assert texts["steps"] == len(kinds) == len(places)
    allocs = [place for place, action in enumerate(trace.actions) if action == Action.ALLOC]
    assert [place for kind, place in zip(kinds, places, strict=True) if kind == 0] == allocs
    at = [base + unit * number for number in summed(columns["address"])]
    assert at[texts["present"] :] == [trace.addresses[place] for place in allocs]
    assert numbers(columns["requested"])[texts["present"] :] == [trace.sizes[place] for place in allocs]
    assert summed(columns["time"]) == [trace.times_us[place] - trace.times_us[0] for place in places]
    backs, count, live = iter(numbers(columns["back"])), 0, {}
    for kind, place in zip(kinds, places, strict=True):
        if kind == 0:
            live[count] = trace.addresses[place]
            count += 1
        elif kind <= 3:
            block = count - next(backs)
            assert trace.addresses[place] == live[block]
            if kind != 2:
                del live[block]
    ends = {block.address for segment in device.segments for block in segment.blocks if block.state != "free"}
    assert set(live.values()) == ends
    failures = list(trace.places(Action.OOM))
    assert numbers(columns["failed"])[::2] == [trace.sizes[place] for place in failures]
    assert len(failures) > 1


def test_a_long_record_is_thinned_and_says_so() -> None:
    snapshot, device = snapshot_of(steps=3000, limit=900 * MIB)
    told = explain(snapshot, device, source="long.pickle", what_if=["default"])
    whole, thin = payload(told, snapshot, device), payload(told, snapshot, device, most=3000)
    assert whole.left_out_below == 0
    assert thin.left_out_below > 1
    assert thin.texts["steps"] <= 3000 < whole.texts["steps"]
    page = html_page(told, snapshot, device, most_steps=3000)
    assert f"blocks that lived for fewer than {thin.left_out_below}" in Parsed(page).words


def test_a_page_that_would_be_too_large_is_thinned_until_it_is_not() -> None:
    snapshot, device = long_trace(60_000)
    told = explain(snapshot, device, what_if=["default"])
    whole = len(payload(told, snapshot, device).json())
    small = payload(told, snapshot, device, most=50_000, most_bytes=whole // 2)
    assert len(small.json()) <= whole // 2
    assert small.left_out_below > 1


def long_trace(events: int) -> tuple[Snapshot, Device]:
    """Sizes and ages without any pattern, so that nothing helps to pack them."""
    random, trace = Random(7), Trace()
    columns: list[tuple[int, int, int, int]] = []
    live: list[tuple[int, int, int]] = []
    free = [slot * 64 * MIB for slot in range(1, 2000)]
    while len(columns) < events:
        if len(live) < 900 or (free and random.random() < 0.5):
            address = free.pop(random.randrange(len(free)))
            live.append((address, random.randrange(1, 64 * MIB), random.randrange(64)))
            columns.append((Action.ALLOC, *live[-1]))
        else:
            gone = live.pop(random.randrange(len(live)))
            free.append(gone[0])
            columns += [(Action.FREE_REQUESTED, *gone), (Action.FREE_COMPLETED, *gone)]
    trace.actions = bytearray(action for action, _, _, _ in columns)
    trace.addresses = array("Q", (address for _, address, _, _ in columns))
    trace.sizes = array("q", (size for _, _, size, _ in columns))
    trace.streams = array("Q", bytes(8 * len(columns)))
    trace.times_us = array("q", (1_700_000_000_000_000 + 37 * place for place in range(len(columns))))
    trace.stacks = array("i", (stack for _, _, _, stack in columns))
    at = {address: (size, stack) for address, size, stack in live}
    segments = []
    for slot in range(1, 2000):
        size, stack = at.get(slot * 64 * MIB, (0, -1))
        blocks = [SnapshotBlock(slot * 64 * MIB, 64 * MIB, size, "allocated" if size else "free", stack)]
        segments.append(Segment(slot * 64 * MIB, 64 * MIB, 0, False, False, (0, 0), tuple(blocks)))
    device = Device(0, tuple(segments), trace)
    stacks = [tuple(Frame(f"f{i}_{j}", f"/home/u/m{j}.py", i) for j in range(30)) for i in range(64)]
    return Snapshot((device,), 1, stacks, [], Settings(), "", "2.11"), device


def test_a_page_of_a_million_events_stays_below_15_mb() -> None:
    snapshot, device = long_trace(60_000)
    told = made_explanation(events=len(device.trace), stacks=tuple(str(stack[0]) for stack in snapshot.stacks))
    small, large = (len(html_page(told, *each)) for each in (long_trace(20_000), (snapshot, device)))
    each_event = (large - small) / 40_000
    assert large + each_event * 940_000 < 15e6


def test_a_damaged_trace_is_drawn_as_far_as_it_goes() -> None:
    snapshot, device = snapshot_of(steps=60)
    trace = device.trace
    for place in range(5, len(trace), 11):
        trace.actions[place] = (trace.actions[place] + place) % 10
        trace.sizes[place] = -7000 if place % 2 else 1 << 40
        trace.times_us[place] = -4
    told = made_explanation(events=len(trace))
    texts, columns = record_of(html_page(told, snapshot, device))
    assert texts["steps"] == len(columns["kind"])
    assert len(summed(columns["place"])) == texts["steps"]
    assert len(numbers(columns["requested"])) == texts["blocks"]


def test_a_snapshot_without_events_has_figures_and_no_map() -> None:
    told = fragmented()
    told = msgspec.structs.replace(told, events=0, allocations=0, fidelity=None, what_if=(), notes=("no events",))
    device = Device(0, told.moments[-1].segments, Trace())
    snapshot = Snapshot((device,), 1, [], [], Settings(), "", "")
    parsed = Parsed(html_page(told, snapshot, device))
    assert "Block map" not in parsed.headings
    assert parsed.headings[0] == "When memory ran out"
    assert "nothing could be replayed" in parsed.words
    assert "no events" in parsed.words


def test_the_settings_to_take_are_marked_and_can_be_copied() -> None:
    snapshot, device = snapshot_of(limit=900 * MIB)
    told = fragmented()
    page = html_page(told, snapshot, device)
    assert page.count('<tr class="best">') == 1
    parsed = Parsed(page)
    assert "best-settings" in {attributes.get("data-copy") for _, attributes in parsed.elements}
    assert re.search(r"export PYTORCH_(CUDA_)?ALLOC_CONF=expandable_segments:True", parsed.words)


def test_where_nothing_was_found_it_says_so(failed: tuple[Snapshot, Device]) -> None:
    snapshot, device = snapshot_of()
    told = explain(snapshot, device, what_if=["default"])
    assert "no findings" in Parsed(html_page(told, snapshot, device)).words
