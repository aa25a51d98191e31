"""The JSON report against its published schema."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sample_reports
from hypothesis import given
from hypothesis import strategies as st

from gpudoctor.facts.pci import PciDevice, pci_subject
from gpudoctor.finding import Severity
from gpudoctor.render.json import dumped, json_safe, render, schema
from gpudoctor.unread import Gap, Unread

SCHEMA = Path(__file__).parent.parent / "docs" / "schema" / "report.schema.json"
NAMES = ("healthy", "one_root", "several_roots", "could_not_tell", "no_gpu", "nasty")


def test_published_schema_is_current() -> None:
    assert SCHEMA.read_text() == schema(), "write it anew: gpudoctor checks --write-docs docs"


@pytest.mark.parametrize("name", NAMES)
def test_reports_follow_the_schema(name: str) -> None:
    text = render(getattr(sample_reports, name)())
    assert text.isascii()
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(text))


def test_the_schema_refuses_what_is_no_report() -> None:
    report = json.loads(render(sample_reports.one_root()))
    report["findings"][0]["severity"] = "bad"
    del report["verdict"]
    errors = list(jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(report))
    assert len(errors) == 2


def test_keys_stand_in_the_order_of_the_contract() -> None:
    report = json.loads(render(sample_reports.one_root()))
    assert list(report)[:9] == [
        "schema_version",
        "tool",
        "source",
        "host",
        "started",
        "duration_ms",
        "verdict",
        "exit_code",
        "machine",
    ]
    assert list(report["findings"][0])[:7] == ["id", "code", "layer", "severity", "confidence", "subject", "title"]
    assert report["findings"][0]["values"] == {"width": 8, "width_possible": 16}


def test_values_of_every_kind_become_json() -> None:
    values = json.loads(render(sample_reports.nasty()))["findings"][0]["values"]
    assert values["raw"] == "\\xff"
    assert values["at"] is None
    assert values["3"] == [1, 2]
    assert values["who"] == {"kind": "node", "id": "node", "label": "this node"}
    assert "\\ud800" in values["process"]


def test_an_unread_field_says_why() -> None:
    gone = Unread(Gap.DENIED, "/sys/x", "Permission denied", "run as root")
    device = PciDevice(pci_subject("0000:00:01.0"), "0000:00:01.0", *[gone] * 10)  # type: ignore[arg-type]
    safe = json_safe({"device": device, "severity": Severity.ERROR})
    assert safe["device"]["driver"] == {
        "unread": "denied",
        "where": "/sys/x",
        "detail": "Permission denied",
        "remedy": "run as root",
    }
    assert safe["severity"] == 3


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
)


@given(anything)
def test_whatever_a_check_yields_can_be_printed(value: Any) -> None:
    read = json.loads(dumped(value))
    if isinstance(value, float) and not math.isfinite(value):
        assert read is None
    elif isinstance(value, (bool, int)):
        assert read == value
