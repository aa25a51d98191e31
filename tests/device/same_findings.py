"""Compare the findings of two JSON reports, or list those of one with what explains them."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def findings(path: str) -> list[dict]:
    return json.loads(Path(path).read_text())["findings"]


def main() -> None:
    if sys.argv[1] == "--list":
        own = findings(sys.argv[2])
        codes = {f["id"]: f["code"] for f in own}
        for f in own:
            by = ", ".join(codes[i] for i in f["caused_by"])
            print(f"{f['severity']:8} {f['code']:24} {f['title']}{f'   <- {by}' if by else ''}")
        return
    left, right = ({(f["id"], f["code"], f["severity"]) for f in findings(path)} for path in sys.argv[1:3])
    print("the same findings" if left == right else f"DIFFERENT: {sorted(left ^ right)}")


if __name__ == "__main__":
    main()
