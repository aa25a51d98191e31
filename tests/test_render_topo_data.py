"""The picture as JSON, against its published schema, and as a graph for Graphviz."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sample_pictures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_pictures import GPUS, NICS, PATHS
from test_render_topo import MADE, machines, picture

from gpudoctor.facts.fact import Facts
from gpudoctor.render.topo import dot
from gpudoctor.render.topo.drawn import draw
from gpudoctor.render.topo.json import render, schema

SCHEMA = Path(__file__).parent.parent / "docs" / "schema" / "topo.schema.json"
NAMES = (*sample_pictures.NAMES, *MADE)
STRING = r'"(?:[^"\\]|\\.)*"'
STATEMENT = re.compile(
    rf"graph topology {{|  graph \[.*\];|  (node|edge) \[.*\];|  subgraph cluster_\d+ {{|    label={STRING};|  }}|}}"
    rf"|\s+{STRING} \[label={STRING}(, \w+=({STRING}|\w+))*\];|\s+{STRING} \[shape=hexagon, style=dashed\];"
    rf"|  {STRING} -- {STRING}( \[.*\])?;"
)


def told(name: str) -> Any:
    return json.loads(render(picture(name)))


def test_published_schema_is_current() -> None:
    assert SCHEMA.read_text() == schema(), "write it anew: gpudoctor checks --write-docs docs"


@pytest.mark.parametrize("name", NAMES)
def test_pictures_follow_the_schema(name: str) -> None:
    assert render(picture(name)).isascii()
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(told(name))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(machines())
def test_whatever_the_facts_the_schema_holds(facts: Facts) -> None:
    made = json.loads(render(draw(facts, sample_pictures.report())))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(made)


def test_the_parts_refer_to_each_other() -> None:
    made = told("broken")
    ids = {device["id"] for device in made["devices"]}
    findings = {finding["id"] for finding in made["findings"]}
    assert {device["above"] for device in made["devices"]} - {None} <= ids
    assert {link["lower"] for link in made["links"] if link["kind"] == "pcie"} <= ids
    assert {each for device in made["devices"] for each in device["findings"]} <= findings
    assert [process["gpus"] for process in made["processes"]] == [[GPUS[3]], [GPUS[0]]]
    assert made["matrix"]["nic_names"] == {"NIC0": "mlx5_0", "NIC1": "mlx5_1"}
    assert made["matrix"]["peer_access_refused"] == {f"{GPUS[0]}+{GPUS[3]}": "topology"}


def test_a_link_tells_both_ends() -> None:
    made = told("broken")
    link = next(link for link in made["links"] if link.get("lower") == GPUS[1])
    assert (link["upper"], link["width"], link["width_possible"]) == (PATHS[GPUS[1]][-1], 8, 16)
    assert (link["speed_gts"], link["speed_possible_gts"], link["idle"]) == (32.0, 32.0, True)


def test_a_switch_is_one_device_with_its_ports() -> None:
    made = told("two_sockets")
    switches = [device for device in made["devices"] if device["kind"] == "switch"]
    assert [switch["ports"] for switch in switches] == [
        ["0000:16:00.0", "0000:17:00.0", "0000:17:01.0", "0000:17:02.0"],
        ["0000:96:00.0", "0000:97:00.0", "0000:97:01.0", "0000:97:02.0"],
    ]


def test_the_matrix_is_symmetric_and_in_the_words_of_nvidia_smi() -> None:
    matrix = told("made-hgx-2s")["matrix"]
    ways = [[cell["way"] for cell in row["to_gpus"]] for row in matrix["gpus"]]
    assert ways == [list(column) for column in zip(*ways, strict=True)]
    assert {way for row in ways for way in row} == {"X", "NV18"}
    assert [cell["way"] for cell in matrix["gpus"][0]["to_nics"]] == ["PIX"] * 2 + ["NODE"] * 2 + ["SYS"] * 4


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_holds_every_device_and_nothing_undeclared(name: str) -> None:
    text, made = dot.render(picture(name)), picture(name)
    assert [line for line in text.splitlines() if not STATEMENT.fullmatch(line)] == []
    declared = set(re.findall(rf"^\s+({STRING}) \[", text, re.MULTILINE))
    assert {f'"{device.id}"' for device in made.devices} <= declared
    assert {end for ends in re.findall(rf"^  ({STRING}) -- ({STRING})", text, re.MULTILINE) for end in ends} <= declared


def test_the_graph_has_a_cluster_for_each_socket_and_names_faults() -> None:
    text = dot.render(sample_pictures.broken())
    assert len(re.findall(r"subgraph cluster_\d+ {\n    label=\"NUMA node", text)) == 2
    assert '"0000:17:01.0"' not in text
    assert re.search(r'"0000:1a:00.0" \[label=".*PCIE_WIDTH_DEGRADED \(root cause\).*color=', text)
    assert '"0000:16:00.0" -- "0000:1a:00.0" [label="x8 of x16 Gen5"]' in text


@given(st.text())
def test_no_text_ends_a_string_of_the_graph(text: str) -> None:
    assert re.fullmatch(STRING, dot.quoted(text))


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed; the grammar is tested above")
@pytest.mark.parametrize("name", NAMES)
def test_graphviz_takes_it(name: str) -> None:
    done = subprocess.run(
        ["dot", "-Tplain"], input=dot.render(picture(name)), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(NICS) == 2
