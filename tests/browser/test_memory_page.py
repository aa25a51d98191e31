"""The HTML page of a memory snapshot in a real browser: what it draws is what happened; at any width, by any hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_render_memory_html import FINDING, HOSTILE, long_trace
from traced_allocator import STACKS, made_program

from browser.chromium import Chromium, path
from gpudoctor.allocator.explain import explain
from gpudoctor.allocator.settings import MIB
from gpudoctor.allocator.snapshot import Device, Frame, Segment, Snapshot, Trace
from gpudoctor.allocator.state import History
from gpudoctor.render.memory.html import html_page

pytestmark = pytest.mark.skipif(path() is None, reason="no Chromium here")

READY = """new Promise((done) => {
  const look = () => {
    const opening = document.getElementById("opening");
    if (window.gpudoctor || !opening || !opening.textContent.startsWith("Reading")) done(Boolean(window.gpudoctor));
    else setTimeout(look, 10);
  };
  look();
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.fixture(autouse=True)
def silent(request: pytest.FixtureRequest) -> Iterator[None]:
    """No page says anything on the console, or asks anything of a network."""
    chromium: Chromium = request.getfixturevalue("browser")
    chromium.said.clear()
    chromium.asked.clear()
    yield
    assert chromium.said == []
    assert [address[:60] for address in chromium.asked if not address.startswith(("file:", "data:"))] == []


def opened(browser: Chromium, folder: Path, snapshot: Snapshot, device: Device, **other: Any) -> None:
    told = explain(snapshot, device, source="oom.pickle", what_if=["default", "expandable_segments:True"])
    page = folder / "page.html"
    page.write_text(html_page(told, snapshot, device, [FINDING], **other), encoding="utf-8")
    browser.show(1200, 900)
    browser.open(page)
    assert browser.run(READY) is True


def drawn(browser: Chromium, step: int) -> dict[str, Any]:
    state: dict[str, Any] = browser.run(f"(gpudoctor.go({step}), gpudoctor.state())")
    return state


def settled(browser: Chromium) -> None:
    browser.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def corner(browser: Chromium, identity: str) -> tuple[float, float]:
    """Where an element is, once it is in sight."""
    element = f"document.getElementById('{identity}')"
    x, y = browser.run(f"({element}.scrollIntoView(), (({{x, y}}) => [x, y])({element}.getBoundingClientRect()))")
    return x, y


def expected(segments: tuple[Segment, ...]) -> list[dict[str, Any]]:
    return [
        {
            "address": hex(each.address),
            "size": each.size,
            "kind": [str(each.stream), list(each.pool), each.is_small, each.is_expandable],
            "blocks": [[hex(b.address), b.size, b.requested, b.state] for b in each.blocks],
        }
        for each in segments
    ]


@pytest.mark.parametrize("settings", ["", "expandable_segments:True", "max_split_size_mb:64"])
@pytest.mark.parametrize("truncated", [False, True])
def test_the_state_is_right_at_any_step(browser: Chromium, tmp_path: Path, settings: str, truncated: bool) -> None:
    snapshot, device = made_program(4000, settings=settings, limit=900 * MIB, seed=5).snapshot()
    if truncated:
        device.trace = without_the_first(device.trace, 3001)
    opened(browser, tmp_path, snapshot, device)
    history = History(device, snapshot.settings, snapshot.pools)
    steps = int(browser.run("gpudoctor.steps"))
    assert steps > 4096 or truncated  # so that there are several states to go back to
    wanted = [*range(0, steps, steps // 17), steps - 1, steps]
    places = {
        step: int(browser.run(f"gpudoctor.places[{step}]")) if step < steps else len(device.trace) for step in wanted
    }
    states = {place: (segments, held) for place, segments, held in history.segments_at(places.values())}
    for step in (*wanted[::-3], *wanted):  # back and forth
        segments, held = states[places[step]]
        seen = drawn(browser, step)
        assert seen["segments"] == expected(segments), step
        live = [block for block in held if not block.pending]
        assert seen["requested"] == sum(block.requested for block in live)
        assert seen["allocated"] == sum(block.size for block in live)
        assert seen["reserved"] == sum(each.size for each in segments)


def without_the_first(trace: Trace, count: int) -> Trace:
    """As a ring of events leaves it."""
    columns = ("actions", "addresses", "sizes", "streams", "times_us", "stacks")
    return Trace(**{name: getattr(trace, name)[count:] for name in columns})


def test_a_thinned_page_is_still_right_at_the_moments_that_matter(browser: Chromium, tmp_path: Path) -> None:
    snapshot, device = made_program(4000, limit=900 * MIB, seed=2).snapshot()
    opened(browser, tmp_path, snapshot, device, most_steps=4000)
    assert int(browser.run("gpudoctor.steps")) <= 4000
    for moment in explain(snapshot, device, what_if=["default"]).moments:
        step = int(browser.run(f"gpudoctor.stepAt({moment.place})"))
        assert drawn(browser, step)["segments"] == expected(moment.segments)


@pytest.mark.parametrize("width", [360, 800, 1400])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_any_width(browser: Chromium, tmp_path: Path, width: int, dark: bool) -> None:
    snapshot, device = made_program(limit=900 * MIB).snapshot()
    opened(browser, tmp_path, snapshot, device)
    browser.show(width, 800, dark=dark)
    settled(browser)
    assert browser.run("document.documentElement.scrollWidth") <= width
    beyond = "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)"
    assert browser.run(f"{beyond}.map((e) => e.tagName + e.id + e.className)") == []
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(18, 22, 27)") is dark


def test_keys_step_through_time(browser: Chromium, tmp_path: Path) -> None:
    snapshot, device = made_program(limit=900 * MIB).snapshot()
    opened(browser, tmp_path, snapshot, device)
    step = "gpudoctor.state().step"
    browser.run("gpudoctor.go(200), document.getElementById('slider').focus()")
    browser.press("ArrowRight", times=3)
    browser.press("ArrowLeft")
    assert browser.run(step) == 202
    browser.run("document.getElementById('timeline').focus()")
    browser.press("ArrowLeft", times=2)
    assert browser.run(step) == 200
    browser.press("+", times=2)
    browser.press("End")
    assert browser.run(step) == browser.run("gpudoctor.steps")
    assert "After the last of" in browser.run("document.getElementById('now').textContent")
    browser.press("Home")
    assert browser.run(step) == 0
    click = "(button) => (button.click(), [button.textContent, gpudoctor.state().step])"
    buttons = browser.run(f"[...document.querySelectorAll('#jumps button')].map({click})")
    assert [name for name, _ in buttons] == ["Peak", "Out of memory", "End"]
    moments = explain(snapshot, device, what_if=["default"]).moments
    assert [at for _, at in buttons] == [browser.run(f"gpudoctor.stepAt({moment.place})") for moment in moments]


def test_a_block_says_what_it_is(browser: Chromium, tmp_path: Path) -> None:
    snapshot, device = made_program(limit=900 * MIB).snapshot()
    opened(browser, tmp_path, snapshot, device)
    browser.run("gpudoctor.go(600), document.getElementById('map').focus()")
    detail = "document.getElementById('detail').innerText"
    seen = set()
    for _ in range(30):
        browser.press("ArrowRight")
        seen.add(browser.run(detail))
    assert len(seen) == 30
    assert any("train.py" in words and "frames, the innermost first" in words for words in seen)
    assert any(words.startswith("free") for words in seen)
    browser.press("Escape")
    x, y = corner(browser, "blocks")
    found = set()
    for across, down in itertools.product(range(20, 1000, 140), range(30, 200, 18)):
        browser.click(x + across, y + down)
        found.add(browser.run(detail))
    assert any("of a segment of" in words and "allocated at event" in words for words in found)


def test_the_timeline_zooms_by_wheel_once_it_is_chosen(browser: Chromium, tmp_path: Path) -> None:
    snapshot, device = made_program(limit=900 * MIB).snapshot()
    opened(browser, tmp_path, snapshot, device)
    picture = "document.getElementById('timeline').toDataURL()"
    x, y = corner(browser, "timeline")
    browser.click(x + 500, y + 100)
    step, before = browser.run("gpudoctor.state().step"), browser.run(picture)
    assert 0 < step < browser.run("gpudoctor.steps")
    browser.wheel(x + 500, y + 100, -400)
    browser.run("new Promise((done) => setTimeout(done, 100))")
    assert browser.run(picture) != before
    browser.click(x + 500, y + 100)
    assert abs(browser.run("gpudoctor.state().step") - step) <= 3


def test_fingers_choose_zoom_and_pan(browser: Chromium, tmp_path: Path) -> None:
    snapshot, device = made_program(limit=900 * MIB).snapshot()
    opened(browser, tmp_path, snapshot, device)
    browser.show(360, 800)
    settled(browser)
    x, y = corner(browser, "timeline")
    chosen = []
    for zoom in (False, True):
        if zoom:  # two fingers part
            browser.touch("touchStart", (x + 190, y + 80), (x + 210, y + 80))
            for apart in range(20, 90, 10):
                browser.touch("touchMove", (x + 200 - apart, y + 80), (x + 200 + apart, y + 80))
            browser.touch("touchEnd")
        for across in (150, 250):
            browser.touch("touchStart", (x + across, y + 80))
            browser.touch("touchEnd")
            chosen.append(browser.run("gpudoctor.state().step"))
    assert chosen[1] - chosen[0] > 2 * (chosen[3] - chosen[2]) > 0
    browser.touch("touchStart", (x + 250, y + 80))
    for across in range(250, 150, -10):
        browser.touch("touchMove", (x + across, y + 80))
    browser.touch("touchEnd")
    browser.touch("touchStart", (x + 150, y + 80))
    browser.touch("touchEnd")
    assert abs(browser.run("gpudoctor.state().step") - chosen[3]) < (chosen[3] - chosen[2]) / 4


def test_a_command_can_be_copied(browser: Chromium, tmp_path: Path) -> None:
    snapshot, device = made_program(limit=900 * MIB).snapshot()
    opened(browser, tmp_path, snapshot, device)
    button = "document.querySelector('button[data-copy]')"
    x, y = browser.run(f"({button}.scrollIntoView(), (({{x, y}}) => [x + 5, y + 5])({button}.getBoundingClientRect()))")
    browser.click(x, y)
    browser.run("new Promise((done) => setTimeout(done, 200))")
    assert browser.run(f"{button}.textContent") in {"Copied", "Selected"}


def test_hostile_names_stay_text(browser: Chromium, tmp_path: Path) -> None:
    snapshot, device = made_program(limit=900 * MIB).snapshot()
    stacks = [(Frame(HOSTILE, f"/home/{HOSTILE}.py", 3), *stack) for stack in STACKS]
    opened(browser, tmp_path, msgspec.structs.replace(snapshot, stacks=stacks, settings_text=HOSTILE), device)
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert "alert(1)" in browser.run("document.getElementById('legend').textContent")


def test_an_old_browser_is_told_so(browser: Chromium, tmp_path: Path) -> None:
    snapshot, device = made_program().snapshot()
    script = "delete window.DecompressionStream"
    identity = browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)["identifier"]
    with pytest.raises(AssertionError):
        opened(browser, tmp_path, snapshot, device)
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=identity)
    assert "too old" in browser.run("document.getElementById('opening').textContent")


def test_a_large_page_opens_fast(browser: Chromium, tmp_path: Path) -> None:
    opened(browser, tmp_path, *long_trace(100_000))
    spent = browser.run("performance.now()")
    assert spent < 5000
    jumps = (
        "(() => { const t = performance.now(); gpudoctor.go(50000); gpudoctor.go(3); return performance.now() - t; })"
    )
    assert browser.run(f"{jumps}()") < 1000
