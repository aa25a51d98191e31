"""The command: parse options, call, exit."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

FAILED = 4  # gpudoctor itself failed
INTERRUPTED = 130


def main() -> NoReturn:
    """Leave at once when all is said: no thread that hangs in the kernel may hold the process."""
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the first import is done
        code = INTERRUPTED
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or its reader is gone: nobody is left to tell
            stream.flush()
    os._exit(code)


def run(arguments: Sequence[str]) -> int:
    """The whole command but for the exit. Returns the exit code."""
    from gpudoctor.cli.refusal import Refusal, UsageError

    try:
        from gpudoctor.cli.app import command

        code = command().main(args=list(arguments), prog_name="gpudoctor", standalone_mode=False)
        if code == INTERRUPTED:  # typer turns Ctrl-C into this code, and says nothing
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except Refusal as refusal:
        say(str(refusal))
        return refusal.exit_code
    except UsageError as error:
        where = error.ctx.command_path if error.ctx else "gpudoctor"
        say(f"{error.format_message().rstrip('.')}; see: {where} --help")
        return int(error.exit_code)
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    except Exception as error:
        if os.environ.get("GPUDOCTOR_DEBUG") == "1":
            raise
        say(f"failed itself: {type(error).__name__}: {error} (GPUDOCTOR_DEBUG=1 shows where)")
        return FAILED


def say(sentence: str) -> None:
    """One line to the person at the terminal."""
    from gpudoctor.render.plain import one_line, plain

    if sys.stderr is None:
        return
    line = one_line(plain(sentence))
    try:
        print(f"gpudoctor: {line}", file=sys.stderr, flush=True)
    except UnicodeEncodeError:
        print(f"gpudoctor: {plain(line, ascii_only=True)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return
