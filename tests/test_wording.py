"""Numbers and lists as sentences of findings say them."""

from __future__ import annotations

from gpudoctor_checks.wording import number_of, spoken


def test_one_is_not_said_as_many() -> None:
    assert [number_of(count, "GPU") for count in (0, 1, 2)] == ["0 GPUs", "1 GPU", "2 GPUs"]
    assert number_of(2, "GPU process", "GPU processes") == "2 GPU processes"


def test_lists() -> None:
    assert [spoken("ABC"[:length]) for length in (1, 2, 3)] == ["A", "A and B", "A, B and C"]
