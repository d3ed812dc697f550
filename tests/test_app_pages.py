"""Every page of the app on a small run: what it shows, what it escapes, what it never sends."""

import json
import re

import pytest

from app_site import HTML, Browser, app_over, make_site, queue, visible
from radvqa.app.settings import Settings
from radvqa.errors import InputError
from report_run import HOSTILE

PAGES = [
    "/review", "/review/phantom/agreement", "/rate", "/inspect", "/inspect/small/0", "/inspect/small/1?beside=small/2",
    "/runs", "/runs/small", "/runs/small/examples", "/people", "/sign-in",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def app(run, tmp_path):
    return app_over(run, tmp_path / "app.sqlite")


@pytest.fixture
def browser(app):
    queue(app)
    return Browser(app)


@pytest.mark.parametrize("address", PAGES)
def test_pages_are_whole_and_hold_no_inline_script_or_style(browser, address):
    text = browser.page(address)
    assert (text.rstrip().endswith("</html>") and "<h1" in text) or "/inspect" in address
    scripts = re.findall(r"<script[^>]*>", text)
    assert all('src="/static/' in tag or 'type="application/json"' in tag for tag in scripts)
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", text), "the policy would refuse it"
    assert not re.search(r"(src|href)=\"(https?:)?//", text), "works without a network"


def test_headers_of_every_kind_of_answer(browser):
    for address in ("/review/phantom", "/static/app.css", "/picture/phantom/" + "0" * 64, "/nowhere", "/openapi.json"):
        headers = browser.get(address).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"


def test_a_question_of_markup_is_text_wherever_it_is_shown(browser):
    for address in ("/runs/small/examples", "/inspect/small/0", "/review/phantom"):
        assert "<script>alert" not in browser.page(address) and "<b>mass" not in browser.page(address)
    assert "&lt;script&gt;alert" in browser.page("/inspect/small/0")
    rows = [browser.get(f"/api/review/phantom/items/{place}").json() for place in range(12)]
    assert HOSTILE in [row["question"] for row in rows], "and it is not changed"


def test_state_for_scripts_cannot_end_its_element(browser):
    text = browser.page("/inspect/small/0")
    state = re.search(r'id="state">(.*?)</script>', text, re.S)[1]
    assert "<" not in state and json.loads(state)[0]["question"] == HOSTILE


def test_runs_show_scores_groups_and_examples(browser):
    text = visible(browser.page("/runs/small"))
    assert "0.87 [0.84, 0.90]" in text and "Modality" in text
    assert "wrong" in browser.page("/runs/small/examples")
    wrong = visible(browser.page("/runs/small/examples?arm=stage2&right=no"))
    assert "2 answers" in wrong and "✓" not in wrong, "of q0 no, q3 yes, q6 no, q9 yes the model says yes to all"
    assert "1 answer" in visible(browser.page("/runs/small/examples?arm=base&words=perhaps"))
    assert "No such answers" in browser.page("/runs/small/examples?topic=nonsense")


def test_failing_groups_are_those_whose_interval_lies_below_the_whole():
    from radvqa.app.runs import failing
    from radvqa.report.lookup import Scores

    def entry(value, low, high, where, n=100):
        return {"metric": "closed_accuracy", "arm": "base", "control": "none", "slice": where, "n": n} | {
            "value": value, "low": low, "high": high,
        }  # fmt: skip

    rows = [
        entry(0.7, 0.65, 0.75, {}),
        entry(0.5, 0.4, 0.6, {"topic": "organ"}),
        entry(0.6, 0.5, 0.7, {"topic": "plane"}),
    ]
    rows.append(entry(0.1, 0.0, 0.2, {"topic": "rare"}, n=5))
    assert [group["name"] for group in failing(Scores({"metrics": rows}))] == ["organ"], (
        "plane's reaches in, rare has 5"
    )


def test_the_report_is_served_in_a_box(run, browser):
    (run / "report.html").write_text("<!doctype html><title>x</title><script>alert(1)</script>")
    response = browser.get("/runs/small/report")
    assert response.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    (run / "report.html").unlink()
    assert browser.get("/runs/small/report").status_code == 404


def test_what_is_not_there_is_a_page_of_404(browser):
    for address in (
        "/x",
        "/runs/none",
        "/inspect/small/99",
        "/inspect/small/-1",
        "/review/none",
        "/rate/7",
        "/maps/none/0",
    ):
        response = browser.get(address, headers=HTML)
        assert response.status_code in (404, 422) and "</html>" in response.text, address
        assert browser.get(address).json()["detail"]


def test_pictures_are_the_stored_bytes(app, browser):
    shelf = app.state.library.corpora["phantom"]
    key = shelf.corpus.image_keys()[0]
    response = browser.get(f"/picture/phantom/{key}")
    assert response.content == shelf.corpus.image_bytes(key) and "private" in response.headers["cache-control"]
    assert browser.get(f"/thumb/phantom/{key}").headers["content-type"] == "image/jpeg"


def test_without_a_corpus_or_a_run_there_is_nothing_to_start():
    with pytest.raises(InputError, match="--corpus"):
        Settings()


def test_a_run_is_enough(run, tmp_path):
    browser = Browser(app_over(run, tmp_path / "a.sqlite", corpora=()))
    assert "small.phantom" in browser.get("/review", headers=HTML).headers["location"], "its own corpus is reviewed"
