"""A quiet sign of life on the terminal while a command takes its time."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gpudoctor.render.plain import one_line, plain

PATIENCE_SECONDS = 0.5
STEP_SECONDS = 0.1
BRAILLE, LINES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"


@contextmanager
def working(doing: str | Callable[[], str], *, quiet: bool = False, ascii_only: bool = False) -> Iterator[None]:
    """None where stderr is no terminal. `doing` may say anew each time how far it is."""
    stream = sys.stderr
    if quiet or stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    done = threading.Event()
    fancy = not ascii_only and (stream.encoding or "").lower().startswith("utf")
    says = doing if callable(doing) else lambda: doing
    turning = threading.Thread(target=_turn, args=(says, BRAILLE if fancy else LINES, done), daemon=True)
    turning.start()
    try:
        yield
    finally:
        done.set()
        turning.join(timeout=2 * STEP_SECONDS)


def _turn(says: Callable[[], str], frames: str, done: threading.Event) -> None:
    began = time.monotonic()
    if done.wait(PATIENCE_SECONDS):
        return
    step = 0
    while not done.wait(STEP_SECONDS):
        step += 1
        doing = one_line(plain(says()))
        sys.stderr.write(f"\r\x1b[K{frames[step % len(frames)]} {doing}  {time.monotonic() - began:.0f} s")
        sys.stderr.flush()
    sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()
