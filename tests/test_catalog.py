"""Packs: what one of them does wrong costs that pack only."""

from __future__ import annotations

from pathlib import Path

import fake_pack
import pytest

from gpudoctor.catalog import Catalog
from gpudoctor.examine import examine
from gpudoctor.facts.fact import Facts
from gpudoctor.layer import Layer


def test_a_pack_that_cannot_be_loaded_is_could_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    whole = fake_pack.written_to(tmp_path, "whole_pack")
    broken = tmp_path / "broken_pack"
    broken.mkdir()
    (broken / "__init__.py").write_text("")
    (broken / "kernel.py").write_text("import a_module_that_nobody_has\n")
    catalog = Catalog(("broken_pack", "whole_pack"))
    checks = catalog.checks([Layer.KERNEL])
    assert {c.name for c in checks} == {c.name for c in whole.checks([Layer.KERNEL])} | {"broken_pack.kernel"}
    outcome = next(o for o in examine(Facts({}), checks, catalog.knowledge).outcomes if o.check == "broken_pack.kernel")
    assert outcome.outcome == "could_not_tell"
    assert outcome.reason == (
        "pack broken_pack: could not be loaded: ModuleNotFoundError: No module named 'a_module_that_nobody_has'"
    )
