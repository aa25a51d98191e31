"""The SVG: its geometry from the file itself, and, where a browser is installed, as the browser lays it out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sample_pictures
from hypothesis import HealthCheck, given, settings
from rich.cells import cell_len
from test_render_topo import MADE, machines, picture

from gpudoctor.facts.fact import Facts
from gpudoctor.render.topo import svg
from gpudoctor.render.topo.drawn import draw

NAMES = (*sample_pictures.NAMES, *MADE)
SIZES = {"head": 15, "title": 13, "label": 12, "small": 11, "cell": 10}
WIDEST_ADVANCE = 0.61  # of the monospace fonts that the style names
TAG = "{http://www.w3.org/2000/svg}"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
Box = tuple[float, float, float, float]  # left, top, right, bottom


def root_of(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # raises where it is not well-formed


def number(element: ElementTree.Element, name: str) -> float:
    return float(element.attrib[name])


def rect(element: ElementTree.Element) -> Box:
    x, y = number(element, "x"), number(element, "y")
    return x, y, x + number(element, "width"), y + number(element, "height")


def ink(element: ElementTree.Element) -> Box:
    size = next(SIZES[each] for each in element.attrib["class"].split() if each in SIZES)
    x, y, wide = number(element, "x"), number(element, "y"), cell_len(element.text or "") * size * WIDEST_ADVANCE
    left = x - wide if element.get("text-anchor") == "end" else x
    return left, y - size, left + wide, y + size / 4


def inside(inner: Box, outer: Box) -> bool:
    return (
        inner[0] >= outer[0] - 0.01
        and inner[1] >= outer[1] - 0.01
        and inner[2] <= outer[2] + 0.01
        and inner[3] <= outer[3] + 0.01
    )


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def cards(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [*(root.find(f"{TAG}g[@class='all']") or ())]


def faults(text: str) -> Iterator[str]:
    """What of the layout is wrong, a line each."""
    root = root_of(text)
    for card in cards(root):
        frame = rect(next(each for each in card if each.get("class") == "card"))
        inks = [*card.iter(f"{TAG}text")]
        yield from (f"outside of its card: {each.text}" for each in inks if not inside(ink(each), frame))
        for one, other in combinations(inks, 2):
            if overlap(ink(one), ink(other)):
                yield f"{one.text} is written over {other.text}"
        devices = card.findall(f"{TAG}g[@class='device']") + card.findall(f"{TAG}g[@class='cell']")
        boxes = [rect(device[0]) for device in devices]
        yield from (f"boxes overlap: {a} {b}" for a, b in combinations(boxes, 2) if overlap(a, b))
        for device, box in zip(devices, boxes, strict=True):
            if not inside(box, frame):
                yield f"a box outside of its card: {box}"
            yield from (f"outside of its box: {e.text}" for e in device.iter(f"{TAG}text") if not inside(ink(e), box))
    yield from arranged(root)


def arranged(root: ElementTree.Element) -> Iterator[str]:
    """Cards, on a desk and on a phone of 360 pixels."""
    style = root.findtext(f"{TAG}style") or ""
    wide, _, narrow = style.partition("@media (max-width")
    high = [number(card[0], "height") for card in cards(root)]
    desk = [(float(x), float(y)) for x, y in re.findall(r"\.c\d+{transform:translate\((\d+)px,([\d.]+)px\)", wide)]
    phone = [
        (360 / 2 - float(half), float(y))
        for half, y in re.findall(r"\.c\d+{transform:translate\(calc\(50vw - (\d+)px\),([\d.]+)px\)", narrow)
    ]
    for places, room in ((desk, number(root, "width")), (phone, 360.0)):
        assert len(places) == len(high)
        boxes = [(x, y, x + 336, y + h) for (x, y), h in zip(places, high, strict=True)]
        yield from (f"cards overlap: {a} {b}" for a, b in combinations(boxes, 2) if overlap(a, b))
        yield from (f"wider than {room}: {box}" for box in boxes if box[0] < 0 or box[2] > room)
    yield from (f"below the end: {y}" for (_, y), h in zip(desk, high, strict=True) if y + h > number(root, "height"))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_overlaps_and_all_text_is_inside_its_box(name: str) -> None:
    assert list(faults(svg.render(picture(name)))) == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(machines())
def test_no_facts_break_the_layout(facts: Facts) -> None:
    assert list(faults(svg.render(draw(facts, sample_pictures.report())))) == []


@pytest.mark.parametrize("name", NAMES)
def test_it_is_self_contained_and_runs_nothing(name: str) -> None:
    root = root_of(svg.render(picture(name)))
    assert {each.tag.removeprefix(TAG) for each in root.iter()} <= {
        "svg",
        "title",
        "style",
        "g",
        "rect",
        "path",
        "text",
    }
    names = {attribute.lower() for each in root.iter() for attribute in each.attrib}
    assert not {name for name in names if name.startswith("on") or "href" in name}
    style = root.findtext(f"{TAG}style") or ""
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_text_is_text() -> None:
    text = svg.render(sample_pictures.nasty())
    said = " ".join(root_of(text).itertext())
    assert "<script" not in text
    assert "[red]not markup[/red]" in said
    assert "\x1b" not in text
    text.encode()


def test_faults_are_coloured_and_named() -> None:
    root = root_of(svg.render(sample_pictures.broken()))
    boxes = {d.findtext(f"{TAG}text"): d for c in cards(root) for d in c.findall(f"{TAG}g[@class='device']")}
    broken = boxes["GPU 1 ✖"]
    said = " ".join(broken.itertext())
    assert "error" in broken[0].attrib["class"].split()
    assert "PCIE_WIDTH_DEGRADED (error, root cause)" in re.sub(r"\s+", " ", said) or "PCIE_WIDTH_DEGRADED" in said
    assert "x8 of x16 Gen5" in said
    assert "error" not in boxes["NIC0 mlx5_0"][0].attrib["class"].split()
    assert any("✖" in (cell.text or "") for cell in root.iter(f"{TAG}text") if "SYS" in (cell.text or ""))


def test_it_has_a_night_side_and_a_phone_side() -> None:
    style = root_of(svg.render(sample_pictures.two_sockets())).findtext(f"{TAG}style") or ""
    assert "prefers-color-scheme:dark" in style
    assert "max-width:700px" in style


MEASURE = """<script>
const wrong = [];
const near = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 2 && a.bottom <= b.bottom + 2;
const box = e => e.getBoundingClientRect();
for (const card of document.querySelectorAll('.all > g')) {
  const frame = box(card.querySelector('.card'));
  if (frame.right > document.documentElement.clientWidth + 1) wrong.push('beyond the window: ' + card.textContent);
  for (const t of card.querySelectorAll('text')) if (!near(box(t), frame)) wrong.push('card: ' + t.textContent);
  for (const d of card.querySelectorAll('.device, .cell'))
    for (const t of d.querySelectorAll('text'))
      if (!near(box(t), box(d.querySelector('rect')))) wrong.push('box: ' + t.textContent);
}
const first = document.querySelector('.small');
const seen = box(first).height;
document.body.textContent = 'MEASURED' + JSON.stringify({wrong, seen}) + 'DONE';
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here; the same is tested from the file's own numbers")
@pytest.mark.parametrize("window", ["1400,1000", "900,1200", "500,1200"])
def test_a_browser_lays_it_out_so(window: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    drawn = svg.render(picture("broken"))
    page.write_text(f"<!doctype html><meta charset=utf-8><body style='margin:0'>{drawn}{MEASURE}")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, f"--window-size={window}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r"MEASURED(\{.*\})DONE", done.stdout)
    assert found, done.stderr[-2000:]
    measured = json.loads(found[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    assert measured["wrong"] == []
    assert measured["seen"] > 9  # pixels of a small line
