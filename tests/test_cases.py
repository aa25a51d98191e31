"""Every case in tests/cases gets the verdict that its case.yaml says is right."""

from __future__ import annotations

from pathlib import Path

import pytest
from casebook import CASES, faults, folders


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: str(folder.relative_to(CASES)))
def test_case(folder: Path) -> None:
    assert faults(folder) == []
