"""Headless Chromium through chromedriver's WebDriver protocol, using only the standard library."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
CHROMEDRIVER = shutil.which("chromedriver")
MISSING = "needs chromium and chromedriver on PATH (Debian: chromium chromium-driver)"
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


class Browser:
    """A session; the page's content security policy does not apply to `run`."""

    def __init__(self, url: str) -> None:
        self.url = url
        options = {"binary": CHROMIUM, "args": ARGUMENTS}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self.post("/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.url += f"/session/{made['sessionId']}"

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.request("POST", path, json.dumps(body).encode())

    def request(self, method: str, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(
            self.url + path, body, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)["value"]

    def open(self, path: Path) -> None:
        """Load a file; return after its load event."""
        self.post("/url", {"url": path.resolve().as_uri()})
        end = time.monotonic() + 60  # a busy machine's driver may answer before that event
        while self.run("return document.readyState") != "complete":
            assert time.monotonic() < end, f"{path} is still loading"
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """Run the body of a JavaScript function and return its result."""
        return self.post("/execute/sync", {"script": script, "args": []})

    def press(self, *keys: str) -> None:
        """Press keys one after another in the focused element."""
        actions = [{"type": kind, "value": k} for k in keys for kind in ("keyDown", "keyUp")]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self.post("/actions", {"actions": [keyboard]})

    def protocol(self, command: str, **parameters: Any) -> Any:
        """Send a DevTools command."""
        return self.post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def look(self, width: int, height: int, scheme: str = "light") -> None:
        """Set the window's size and color scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.protocol("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.protocol("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.request("GET", "/screenshot")))

    def log(self) -> list[str]:
        """Return the console messages since the last call, policy violations included."""
        return [entry["message"] for entry in self.post("/se/log", {"type": "browser"})]


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium; stop it at the end of the block."""
    command = [str(CHROMEDRIVER), "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout
            ports = (re.search(r"successfully on port (\d+)", line) for line in driver.stdout)
            session = Browser(f"http://127.0.0.1:{next(filter(None, ports))[1]}")
            try:
                yield session
            finally:
                session.request("DELETE", "")
        finally:
            driver.terminate()
