"""A headless Chromium, driven over a pipe by the DevTools protocol: no port, no driver, no package.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)


def path() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def _started(line: list[str], commands: int, answers: int) -> int:
    """The browser reads commands from descriptor 3 and answers on 4."""
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in (commands, answers)]
    silent = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    actions = [*silent, *((os.POSIX_SPAWN_DUP2, end, 3 + place) for place, end in enumerate(high))]
    pid = os.posix_spawn(line[0], line, os.environ, file_actions=actions)
    for end in high:
        os.close(end)
    return pid


class Chromium:
    """One page. What the console said, and what was asked of the network, is kept."""

    def __init__(self, profile: Path) -> None:
        binary = path()
        assert binary is not None
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        self._pid = _started([binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"], commands, answers)
        os.close(commands)
        os.close(answers)
        self._read = b""
        self._number = 0
        self._session: str | None = None
        self.said: list[str] = []
        self.asked: list[str] = []
        self._loaded = False
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(each["targetId"] for each in targets if each["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._commands)  # it ends when its pipe does
        os.close(self._answers)
        for _ in range(100):
            if os.waitpid(self._pid, os.WNOHANG)[0]:
                return
            time.sleep(0.1)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._number:
                assert "error" not in heard, heard["error"]
                return heard["result"]

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            chunk = os.read(self._answers, 1 << 20)
            assert chunk, "the browser ended"
            self._read += chunk
        raw, _, self._read = self._read.partition(b"\0")
        heard: dict[str, Any] = json.loads(raw)
        self._note(heard.get("method", ""), heard.get("params", {}))
        return heard

    def _note(self, method: str, said: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled":
            self.said.append(" ".join(str(each.get("value", each.get("description"))) for each in said["args"]))
        elif method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.said.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded":
            self.said.append(said["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked.append(said["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True

    def open(self, page: Path) -> None:
        self._loaded = False
        self.call("Page.navigate", url=page.as_uri())
        while not self._loaded:
            self._hear()

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def show(self, width: int, height: int, *, dark: bool = False, sharpness: float = 1) -> None:
        mobile = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=sharpness,
            mobile=mobile,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key: str, *, times: int = 1) -> None:
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def wheel(self, x: float, y: float, by: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=by)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """`touchStart`, `touchMove` with the fingers that are down, `touchEnd` without."""
        fingers = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=fingers)

    def picture(self, *, whole: bool = True) -> bytes:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        parameters = {"clip": clip, "captureBeyondViewport": True} if whole else {}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **parameters)["data"])
