"""The screen in the README is what the command prints. GPUDOCTOR_UPDATE=1 writes it anew."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import planting
from casebook import load_node
from making_pci import CORRECTABLE, DEVICES, aer_text

from gpudoctor.catalog import Catalog
from gpudoctor.cli.options import Wish
from gpudoctor.cli.scanning import collecting, scan
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.render import terminal
from gpudoctor.render.screen import Screen

README = Path(__file__).parent.parent / "README.md"
SCREEN = re.compile(r"(<!-- screen -->\n```\n)(.*?)(```\n)", re.DOTALL)
DURATION = re.compile(r"\d+\.\d\d s\n")
PORT, SWITCH = "0000:97:01.0", "0000:98:00.0"


def sick() -> RecordedNode:
    """A switch on half of its lanes, errors on the port above it, and a process on the wrong socket."""
    well = load_node("made-hgx-2s-job.node")
    node = well.with_surfaces(
        {
            **planting.configured(well, SWITCH, {"link_width": 8}),
            **planting.placed(well, 51400, "0-3,32-35", 0),
            ("file", f"{DEVICES}/{PORT}/aer_dev_correctable"): aer_text(
                CORRECTABLE, "TOTAL_ERR_COR", RxErr=482113
            ).encode(),
            ("file", f"{DEVICES}/{PORT}/aer_rootport_total_err_cor"): b"482113\n",
        }
    )
    node.name = "sick.node"
    return node


def test_the_screen_in_the_readme_is_what_a_scan_prints() -> None:
    began, node, wish = time.monotonic(), sick(), Wish()
    report = scan(node, Catalog.installed(), wish, collecting(node, wish, began=began), began=began)
    printed = DURATION.sub("0.29 s\n", terminal.render(report, Screen(width=98)), count=1)
    text = README.read_text()
    if os.environ.get("GPUDOCTOR_UPDATE") == "1":
        README.write_text(SCREEN.sub(lambda old: old[1] + printed + old[3], text))
        return
    shown = SCREEN.search(text)
    assert shown is not None
    assert shown[2] == printed
