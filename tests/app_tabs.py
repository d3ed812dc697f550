"""Fixtures of the browser tests: one Chromium and one served site a file, a tab of each width a test."""

import json
import shutil

import pytest

from app_chromium import SIZES, chromium, served
from app_site import app_over, make_site, queue


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory, browser):
    """(app, address): nobody has an account, so everything may be done. Two runs: `small`, and `other` whose model
    answered the same questions with yes."""
    folder = tmp_path_factory.mktemp("site")
    run = make_site(folder)
    (run / "report.html").write_text("<!doctype html><title>x</title><h1>The report of small</h1>")
    other = folder / "other"
    shutil.copytree(run, other)
    index = json.loads((other / "saliency" / "index.json").read_text())
    index["items"] = [item | {"answer": "yes", "arm": "base"} for item in index["items"]]
    (other / "saliency" / "index.json").write_text(json.dumps(index))
    app = app_over(run, folder / "app.sqlite", runs=(run, other), model="radvqa-tiny", methods=("raw",))
    queue(app, wanted=20)  # the question q0 is markup with a script in it, and is shown like any other
    with served(app) as address:
        yield app, address


@pytest.fixture(params=SIZES)
def tab(request, browser, site):
    """A tab of one width, with the whole queue before it; errors of its scripts and requests that leave the machine fail
    the test."""
    with site[0].state.reviews._engine.connect() as connection:
        connection.exec_driver_sql("DELETE FROM verdicts")
        connection.exec_driver_sql("UPDATE slots SET holder = NULL, until = NULL")
    context = browser.new_context(viewport=SIZES[request.param], base_url=site[1])
    tab, wrong = context.new_page(), []
    tab.on("dialog", lambda dialog: wrong.append(f"a question's script ran: {dialog.message}"))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda said: said.type == "error" and "status of" not in said.text and wrong.append(said.text))
    tab.on("request", lambda sent: sent.url.startswith((site[1], "blob:", "data:")) or wrong.append(sent.url))
    tab.set_default_timeout(20_000)
    yield tab
    context.close()
    assert not wrong
