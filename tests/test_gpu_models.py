"""The table of GPU models."""

from __future__ import annotations

import pytest
from gpudoctor_checks.gpu_models import PACK, decode_gpu_name

from gpudoctor.knowledge import table

MODELS = table(PACK, "gpus")["models"]


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row["name"])
def test_a_model_is_found_by_its_plain_name(row: dict[str, object]) -> None:
    model = decode_gpu_name(str(row["name"]))
    assert model is not None
    assert model.facts == row


def test_a_model_is_found_by_the_name_that_nvml_gives() -> None:
    h200 = decode_gpu_name("NVIDIA H200")
    assert h200 is not None
    assert h200.facts["link"]["links"] == 18
    assert decode_gpu_name("NVIDIA Nothing 9000") is None
