"""A served site and a real Chromium for the browser tests; skipped, visibly, where either is not installed."""

import os
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

SIZES = {"1440": {"width": 1440, "height": 900}, "900": {"width": 900, "height": 760}}


@contextmanager
def served(app):
    """The app on a free port of this machine; its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def chromium():
    """Debian's Chromium, driven by Playwright."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: browser tests are skipped"
    )
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("chromium is not installed: browser tests are skipped (make browser)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield browser
        browser.close()


def axe_script() -> str:
    """axe-core, as the package axe-playwright-python brings it: it checks accessibility and is no part of radvqa."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed: accessibility is not checked")
    return (Path(axe.__file__).parent / "axe.min.js").read_text()
