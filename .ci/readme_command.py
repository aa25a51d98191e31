"""Print a command that the README gives: the fenced block that follows `<!-- NAME -->`."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def main() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    block = re.search(rf"<!-- {re.escape(sys.argv[1])} -->\n```\w*\n(.*?)```", readme, re.DOTALL)
    if block is None:
        sys.exit(f"README.md has no command marked '{sys.argv[1]}'")
    print(block[1], end="")


if __name__ == "__main__":
    main()
