"""Review, Rate, Runs and People in a real Chromium: every flow by mouse and by keyboard, at two widths; accessibility."""

import io
import re

import numpy as np
import polars as pl
from PIL import Image

from app_chromium import SIZES, axe_script, served
from app_site import PASSWORD, app_over, make_site, shelf_of

pytest_plugins = ["app_tabs"]
NEUTRAL = (
    "/review/phantom", "/review/phantom/agreement", "/rate", "/inspect/small/1", "/inspect/small/1?beside=other/1",
    "/runs", "/runs/small", "/runs/small/examples", "/people", "/ask", "/nowhere",
)  # fmt: skip


def said(app):
    return app.state.reviews.verdicts(shelf_of(app).key, every=True)


def message(tab, text):
    tab.locator("#message", has_text=text).wait_for()


# ---------------------------------------------------------------- review


def reviewing(tab):
    """The page with its first question; keys do nothing before the picture can be seen."""
    tab.goto("/review/phantom")
    tab.locator(".empty").wait_for(state="hidden")


def test_review_by_keyboard(tab, site):
    app, _ = site
    before = len(said(app))
    reviewing(tab)
    first = tab.inner_text("#question")
    tab.keyboard.press("a")
    message(tab, "Accepted.")
    assert tab.inner_text("#question") != first
    tab.keyboard.press("r")
    tab.keyboard.press("2")
    message(tab, "Rejected.")
    tab.keyboard.press("u")
    message(tab, "Your last one again.")
    assert "reject (the image does not show it)" in tab.inner_text("#said")
    tab.keyboard.press("e")
    tab.locator("[name=answer]").fill("a better answer")
    tab.keyboard.press("Control+Enter")
    message(tab, "Edit saved.")
    new = said(app)[before:]
    assert [v.verdict for v in new] == ["accept", "reject", "edit"] and new[2].answer == "a better answer"
    assert new[1].sample == new[2].sample and all(v.seconds > 0 for v in new)
    tab.keyboard.press("e")
    tab.keyboard.press("Escape")
    assert tab.locator("#editing").is_hidden()


def test_review_by_mouse(tab, site):
    app, _ = site
    before = len(said(app))
    tab.goto("/review/phantom")
    tab.click("#accept")
    message(tab, "Accepted.")
    tab.click("#reject")
    tab.locator("#rejecting").get_by_label("Comment").fill("seen twice")
    tab.get_by_role("button", name="duplicate").click()
    message(tab, "Rejected.")
    tab.click("#edit")
    tab.get_by_role("button", name="Save the edit").click()
    message(tab, "Nothing was changed")
    tab.locator("[name=question]").fill("What is shown here?")
    tab.get_by_role("button", name="Save the edit").click()
    message(tab, "Edit saved.")
    tab.click("#undo")
    message(tab, "Your last one again.")
    new = said(app)[before:]
    assert [v.verdict for v in new] == ["accept", "reject", "edit"] and new[1].comment == "seen twice"


def test_a_question_never_stands_beside_the_picture_before(tab, site):
    reviewing(tab)
    held = []
    tab.route("**/picture/**", lambda route: held.append(route))
    stage = tab.locator("#stage canvas")
    before = tab.inner_text("#question")
    tab.keyboard.press("a")
    tab.wait_for_function("text => document.getElementById('question').textContent !== text", arg=before)
    black = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("L"))[20:-80, 20:-20]
    assert tab.locator(".empty").inner_text() == "Loading" and (black > 40).mean() < 0.02, "nothing but the word"
    held[0].continue_()
    tab.locator(".empty").wait_for(state="hidden")


def test_evidence_unfolds_by_key_and_by_mouse(tab, site):
    # phantoms of this corpus have no evidence: the page is given some
    def more(route):
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('"evidence": null', '"evidence": "A caption."'))

    tab.route("**/review/phantom", more)
    tab.goto("/review/phantom")
    text = tab.locator("#evidence-text")
    assert text.is_hidden(), "folded away at first"
    tab.keyboard.press("v")
    assert text.inner_text() == "A caption."
    tab.locator("#evidence summary").click()
    assert text.is_hidden()


def test_an_admin_fills_the_queue_and_sees_agreement(tab, site):
    reviewing(tab)
    tab.keyboard.press("a")
    message(tab, "Accepted.")
    tab.get_by_text("Corpus, queue, keys").click()
    tab.get_by_label("Questions").fill("3")
    tab.get_by_label("Drawn").select_option("stratified")
    tab.locator("[name=by]").select_option("modality")
    with tab.expect_navigation():
        tab.get_by_role("button", name="Add", exact=True).click()
    made = [event.what for event in site[0].state.accounts.events()].count("queue made")
    tab.get_by_text("Corpus, queue, keys").focus()
    tab.keyboard.press("Enter")
    tab.get_by_label("Questions").focus()
    tab.keyboard.press("Control+a")
    tab.keyboard.type("2")
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    assert made and [event.what for event in site[0].state.accounts.events()].count("queue made") == made + 1
    tab.get_by_text("Corpus, queue, keys").focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("link", name="Agreement and export").focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="Agreement").wait_for()
    tab.get_by_label("Leave out what nobody has looked at").check()
    tab.get_by_role("button", name="Write the reviewed corpus").click()
    tab.get_by_role("heading", name="Written").wait_for()
    tab.go_back()
    tab.get_by_role("button", name="Write the reviewed corpus").focus()
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="Written").wait_for()


def test_the_picture_zooms_moves_and_windows(tab, site):
    tab.goto("/review/phantom")
    stage, zoom = tab.locator("#stage canvas"), tab.locator(".tools output")
    tab.locator(".empty").wait_for(state="hidden")
    plain = stage.screenshot()

    def changed(text: str) -> bool:
        tab.wait_for_timeout(60)
        now, before = stage.screenshot(), changed.before
        changed.before = now
        return now != before and (zoom.text_content() == text)

    changed.before = plain
    middle = [stage.bounding_box()[k] + stage.bounding_box()[s] / 2 for k, s in (("x", "width"), ("y", "height"))]
    tab.keyboard.press("+")
    assert changed("125 %")
    tab.mouse.move(*middle)
    tab.mouse.wheel(0, -400)
    assert changed("228 %"), "1.25 exp(0.6)"
    for button, key in (("left", None), ("right", None), ("left", "Shift")):  # pan, window, window
        if key:
            tab.keyboard.down(key)
        tab.mouse.down(button=button)
        tab.mouse.move(middle[0] + 60, middle[1] + 40)
        tab.mouse.up(button=button)
        if key:
            tab.keyboard.up(key)
        assert changed("228 %"), (button, key)
        tab.mouse.move(*middle)
    tab.dblclick("#stage canvas")
    assert changed("100 %")
    for key in ("]", ",", "i"):
        tab.keyboard.press(key)
        assert changed("100 %"), key
    assert tab.get_by_role("button", name="Invert").get_attribute("aria-pressed") == "true"
    grey = [np.asarray(Image.open(io.BytesIO(shot)).convert("L"), float).mean() for shot in (plain, changed.before)]
    assert grey[1] > grey[0], "inverted: the dark picture is bright"
    tab.get_by_role("slider", name="Level").fill("200")
    assert changed("100 %")
    stage.focus()
    tab.keyboard.press("ArrowLeft")
    assert changed("100 %")
    tab.keyboard.press("f")
    tab.wait_for_timeout(60)
    tab.locator("h1").hover()
    assert tab.get_by_role("slider", name="Level").input_value() == "128", "127.5, in steps of one"


# ---------------------------------------------------------------- rate


def new_set(tab, *arms):
    tab.goto("/rate")
    for box in tab.locator("[name=arms]").all():
        box.set_checked(box.get_attribute("value") in arms)
    tab.get_by_role("button", name="Make the set").click()
    tab.locator(".card").nth(len(arms) - 1).wait_for()


def test_two_models_are_rated_blind_by_keyboard_and_by_mouse(tab, site):
    app, _ = site
    new_set(tab, "small/base", "small/stage2")
    assert not re.search("stage ?2|base", tab.inner_text("main"), re.IGNORECASE), "whose answer it is stays hidden"
    assert tab.locator("#save").is_disabled()
    tab.keyboard.press("v")
    assert tab.inner_text("#evidence-text") in ("yes", "no")
    for key in "131c":
        tab.keyboard.press(key)
    tab.keyboard.press("Enter")
    message(tab, "Saved.")
    for card in tab.locator(".card").all():
        for scale in ("correctness", "completeness", "harm"):
            card.locator(f"[data-scale={scale}] label").first.click()
    tab.locator(".card").first.get_by_label("Comment").fill("a comment")
    tab.click("#save")
    tab.locator("#count", has_text="2 of 4").wait_for()
    number = app.state.ratings.sets()[0].id
    rated = app.state.ratings.rated(number)
    assert len(rated) == 4 and rated["cannot_judge"].sum() == 1 and "wrong" not in rated["correctness"].to_list()
    tab.click("#undo")
    message(tab, "The last one again.")
    for key in "333333":
        tab.keyboard.press(key)
    tab.keyboard.press("Enter")
    message(tab, "Saved.")
    assert app.state.ratings.rated(number)["correctness"].to_list().count("wrong") == 2, "the last word counts"
    tab.keyboard.press("u")
    message(tab, "The last one again.")
    for key in "222222":
        tab.keyboard.press(key)
    tab.keyboard.press("Enter")
    message(tab, "Saved.")
    assert app.state.ratings.rated(number)["correctness"].to_list().count("wrong") == 0, "and again, by key"
    tab.goto(f"/rate/{number}/results")
    assert "a comment" not in tab.inner_text("main"), "said anew, without it"
    for press in (lambda link: link.click(), lambda link: (link.focus(), tab.keyboard.press("Enter"))):
        with tab.expect_download() as download:
            press(tab.get_by_role("link", name="Download the ratings"))
        assert len(pl.read_parquet(download.value.path())) == 4


# ---------------------------------------------------------------- runs, people


def test_runs_lead_to_the_report_to_groups_and_to_examples_that_lead_to_maps(tab, site):
    tab.goto("/runs")
    tab.get_by_role("link", name="small run").first.click()
    assert "0.87 [0.84, 0.90]" in tab.inner_text("main") and tab.locator("svg.chart").count() == 1
    tab.get_by_role("link", name="Report").click()
    tab.get_by_role("heading", name="The report of small").wait_for()
    tab.go_back()
    tab.get_by_role("link", name="Examples").focus()
    tab.keyboard.press("Enter")
    tab.get_by_label("Answer").select_option("no")
    tab.get_by_label("Words").fill("number 6")
    tab.keyboard.press("Enter")
    tab.get_by_text("1 answer").wait_for()
    assert "Is number 6 a cyst?" in tab.inner_text(".examples")
    tab.get_by_role("link", name="maps of this answer").first.click()
    tab.locator("html[data-ready]").wait_for()


def test_no_page_is_wider_than_its_window_and_none_has_a_serious_accessibility_fault(tab, site):
    script = axe_script()
    for address in NEUTRAL:
        tab.goto(address)
        if "/inspect/" in address:
            tab.locator("html[data-ready]").wait_for()
        assert tab.evaluate("document.documentElement.scrollWidth") <= tab.viewport_size["width"], address
        tab.evaluate(script)
        found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        assert not serious, (address, [(v["id"], [n["html"][:120] for n in v["nodes"][:3]]) for v in serious])


def test_signing_in_roles_lockout_and_signing_out(browser, tmp_path):
    app = app_over(make_site(tmp_path), tmp_path / "app.sqlite")
    for name, role in (("vera", "reviewer"), ("rita", "reader")):
        app.state.accounts.add(name, role, PASSWORD)
    with served(app) as address:
        tab = browser.new_context(viewport=SIZES["900"], base_url=address).new_page()
        tab.goto("/people")
        tab.get_by_label("Name").focus()
        tab.keyboard.type("vera")
        tab.keyboard.press("Tab")
        tab.keyboard.type(PASSWORD)
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/review/phantom")
        assert tab.locator(".mast nav a").all_inner_texts() == ["Review", "Rate", "Inspect", "Runs"]
        tab.goto("/people")
        assert "this needs the role admin" in tab.inner_text("main")
        tab.get_by_role("button", name="Sign out").click()
        tab.wait_for_url("**/sign-in")
        for number, word in enumerate((*["wrong"] * 5, PASSWORD)):
            tab.get_by_label("Name").fill("rita")
            tab.get_by_label("Password").fill(word)
            if number % 2:
                with tab.expect_navigation():
                    tab.keyboard.press("Enter")
            else:
                tab.get_by_role("button", name="Sign in").click()
            assert "Name and password do not fit" in tab.get_by_role("alert").inner_text()
        now = app.state.accounts._now()
        app.state.accounts._now = lambda: now + 901
        tab.get_by_label("Name").fill("rita")
        tab.get_by_label("Password").fill(PASSWORD)
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/inspect/small/0")
        assert tab.locator(".mast nav a").all_inner_texts() == ["Inspect", "Runs"]
        tab.get_by_role("button", name="Sign out").focus()
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/sign-in")
        tab.context.close()
