"""Small files of /proc and /sys that hold one value."""

from __future__ import annotations

from gpudoctor.node.surface import Node
from gpudoctor.unread import Gap, Reading, Unread


def attribute(node: Node, path: str) -> Reading[str]:
    """A file's text without the space around it."""
    content = node.read(path)
    return content if isinstance(content, Unread) else content.decode(errors="replace").strip("\0 \t\r\n")


def number(node: Node, path: str, base: int = 10) -> Reading[int]:
    text = attribute(node, path)
    if isinstance(text, Unread):
        return text
    try:
        return int(text, base)
    except ValueError:
        return Unread(Gap.MALFORMED, path, f"holds {text[:40]!r}, which is no number")


def exists(node: Node, path: str) -> Reading[bool]:
    """False only where the machine says that the entry is absent."""
    entry = node.stat(path)
    if isinstance(entry, Unread):
        return False if entry.gap is Gap.ABSENT else entry
    return True
