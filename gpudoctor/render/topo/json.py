"""The picture as JSON, and the schema it follows (docs/schema/topo.schema.json)."""

from __future__ import annotations

import json

import msgspec

from gpudoctor.render.json import dumped
from gpudoctor.render.topo.picture import SCHEMA_VERSION, Picture

SCHEMA_ID = f"urn:gpudoctor:topo:{SCHEMA_VERSION}"


def render(picture: Picture) -> str:
    return dumped(msgspec.to_builtins(picture))


def schema() -> str:
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": f"gpudoctor topo, schema version {SCHEMA_VERSION}",
    }
    return json.dumps({**head, **msgspec.json.schema(Picture)}, indent=2) + "\n"
