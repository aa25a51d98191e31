"""From a node to the text of its recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpudoctor.cli.scanning import every_fact

if TYPE_CHECKING:
    from gpudoctor.catalog import Catalog
    from gpudoctor.node.surface import Node


def recorded_text(
    node: Node, catalog: Catalog, timeout_seconds: float, *, began: float, redacted: bool
) -> tuple[str, int]:
    """The recording, and of how many surfaces it is."""
    from gpudoctor.node import archive
    from gpudoctor.node.recording import RecordingNode
    from gpudoctor.node.redact import redact

    recording = RecordingNode(node)
    every_fact(recording, catalog, timeout_seconds, began=began)
    held = recording.archive()
    return archive.dump(redact(held) if redacted else held), len(held.surfaces)
