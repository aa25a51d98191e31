"""The report as JSON: the published contract. ASCII only, so that no terminal or locale can spoil it."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from gpudoctor.report import SCHEMA_VERSION, Report
from gpudoctor.unread import Unread

SCHEMA_ID = f"urn:gpudoctor:report:{SCHEMA_VERSION}"


def render(report: Report) -> str:
    return dumped(report)


def dumped(value: Any) -> str:
    return json.dumps(json_safe(value), indent=2, allow_nan=False) + "\n"


def json_safe(value: Any) -> Any:
    """Plain JSON values out of whatever a check put into a finding."""
    if value is None or isinstance(value, (bool, int)):
        return int(value) if isinstance(value, enum.Enum) else value
    if isinstance(value, enum.Enum):
        return json_safe(value.value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Unread):
        return json_safe({"unread": value.gap, "where": value.where, "detail": value.detail, "remedy": value.remedy})
    if isinstance(value, Mapping):
        return {json_safe(str(key)): json_safe(held) for key, held in value.items()}
    if isinstance(value, AbstractSet):
        return ordered(map(json_safe, value))
    if isinstance(value, (list, tuple)):
        return [json_safe(each) for each in value]
    if isinstance(value, msgspec.Struct):
        return {name: json_safe(getattr(value, name)) for name in value.__struct_fields__}
    if hasattr(value, "readings"):  # a fact: touching an unread field would raise
        return {name: json_safe(reading) for name, reading in value.readings()}
    if dataclasses.is_dataclass(value):
        return {field.name: json_safe(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return json_safe(str(value))


def ordered(values: Iterable[Any]) -> list[Any]:
    """Numbers by size, all else by its text."""
    return sorted(values, key=lambda each: (0, each, "") if isinstance(each, int) else (1, 0, str(each)))


def schema() -> str:
    """The report's JSON Schema, as published in docs/schema."""
    made = msgspec.json.schema(Report)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": f"gpudoctor report, schema version {SCHEMA_VERSION}",
    }
    return json.dumps({**head, **made}, indent=2) + "\n"
