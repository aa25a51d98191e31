"""What is asked for, and the whole row as an answer."""

from __future__ import annotations

import json
from pathlib import Path

import fake_pack
import pytest

from gpudoctor.catalog import Catalog
from gpudoctor.cli.explaining import code_of, explained
from gpudoctor.cli.listing import checks_text
from gpudoctor.cli.printing import Look
from gpudoctor.cli.refusal import Refusal
from gpudoctor.knowledge import Description
from gpudoctor.layer import Layer
from gpudoctor.render import docs, document
from gpudoctor.render.explain import described, placeholders
from gpudoctor.render.screen import Screen


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.syspath_prepend(tmp_path)
    return fake_pack.written_to(tmp_path, f"pack_{tmp_path.name.replace('-', '_')}")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("ZAP_7", "ZAP_7"),
        ("zap 7", "ZAP_7"),
        ("Zap-07", "ZAP_7"),
        ("7", "ZAP_7"),
        ("host cursed", "HOST_CURSED"),
        ("ZAP_*", "ZAP_*"),
        ("zap", "ZAP_*"),
        ("xyz 7", None),
        ("NVIDIA A100", None),
    ],
)
def test_many_ways_to_name_a_code(catalog: Catalog, asked: str, code: str | None) -> None:
    assert code_of(asked, catalog) == code


def test_a_row_is_shown_whole(catalog: Catalog) -> None:
    assert explained("HOST_CURSED", catalog, "terminal", Look(to_file=True)) == (
        " HOST_CURSED   kernel, error\n"
        " <subject> is called <hostname>\n"
        "\n"
        " What it means\n"
        "   A name of that kind brings bad luck.\n"
        "\n"
        " Why it matters\n"
        "   Nothing works on Fridays.\n"
        "\n"
        " What to do\n"
        "   1  Give the node another name.  (as root, reboot)\n"
        "      $ hostnamectl set-hostname <better>\n"
        "\n"
        " How to verify\n"
        "   cat /proc/sys/kernel/hostname\n"
        "\n"
        " Explains\n"
        "   HOST_SLOW   The node is slow\n"
        "\n"
        " Sources\n"
        "   https://example.org/omens?a=1&b=2\n"
    )


def test_a_row_as_markdown(catalog: Catalog) -> None:
    text = explained("host_cursed", catalog, "markdown", Look())
    assert "**\\<subject\\> is called \\<hostname\\>** (kernel, error)" in text
    assert "1. Give the node another name. *(as root, reboot)*\n\n   ```text\n   hostnamectl" in text
    assert "- `HOST_SLOW`: The node is slow" in text
    assert "- <https://example.org/omens?a=1&b=2>" in text


def test_nothing_known_names_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(Refusal, match="nothing is known of 'host curse'; did you mean HOST_CURSED"):
        explained("host curse", catalog, "terminal", Look())
    with pytest.raises(Refusal, match="see: gpudoctor checks"):
        explained("\x1b[31m", catalog, "terminal", Look())


def test_pages_link_to_each_other_and_the_index_holds_all(catalog: Catalog) -> None:
    pages = docs.pages(catalog)
    assert set(pages) == {"index.md", "HOST_CURSED.md", "HOST_SLOW.md", "HOST_LOG.md", "ZAP.md"}
    assert "[`HOST_CURSED`](HOST_CURSED.md)" in pages["HOST_SLOW.md"]
    assert all(f"({name})" in pages["index.md"] for name in pages if name != "index.md")


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("x{width} of x{width_possible:.1f}", "x<width> of x<width possible>"),
        ("{subject.bus_id} is gone", "<bus id> is gone"),
        ("awk '{print $1", "awk '{print $1"),
        ("", ""),
    ],
)
def test_placeholders(template: str, shown: str) -> None:
    assert placeholders(template) == shown


def test_codes_are_listed_by_layer_with_the_facts_they_ask_for(catalog: Catalog) -> None:
    listed = json.loads(checks_text(catalog, "json", (), Look()))
    assert [each["code"] for each in listed] == ["HOST_CURSED", "HOST_LOG", "HOST_SLOW", "ZAP_*"]
    assert listed[1] == {
        "code": "HOST_LOG",
        "layer": "kernel",
        "severity": "info",
        "title": "The log is read",
        "asks_for": ["KernelLog"],
    }
    assert checks_text(catalog, "terminal", (Layer.DRIVER,), Look(to_file=True)).lstrip().startswith("0 codes;")
    page = checks_text(catalog, "terminal", (), Look(to_file=True))
    assert "   HOST_CURSED  ✖ error     <subject> is called <hostname>\n" in page


def test_a_thing_is_described_by_its_name() -> None:
    found = Description("A100 SXM4", (("memory", "80 GB"),), ("https://example.org",))
    made = described("NVIDIA A100", found)
    assert document.terminal(made, Screen(80)) == (
        " NVIDIA A100\n A100 SXM4\n\n What is known of it\n   memory   80 GB\n\n Sources\n   https://example.org\n"
    )
    assert "- memory: 80 GB" in document.markdown(made)
