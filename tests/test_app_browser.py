"""The pages in a real Chromium: every flow by mouse and by keyboard, at two widths, and the accessibility check."""

import io

import numpy as np
import pytest
from PIL import Image

from app_chromium import SIZES, axe_script, chromium, served
from app_site import PASSWORD, app_over, make_site, queue, shelf_of

NEUTRAL = (
    "/review/phantom",
    "/review/phantom/agreement",
    "/rate",
    "/inspect/small/1",
    "/inspect/small/1?beside=small/2",
)
NEUTRAL += ("/runs", "/runs/small", "/runs/small/examples", "/people", "/ask", "/nowhere")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory, browser):
    """(app, address): nobody has an account, so everything may be done."""
    folder = tmp_path_factory.mktemp("site")
    app = app_over(make_site(folder), folder / "app.sqlite", model="radvqa-tiny", methods=("raw",))
    queue(app, wanted=20)
    with served(app) as address:
        yield app, address


@pytest.fixture(params=SIZES)
def tab(request, browser, site):
    """A tab of one width; errors of its scripts and requests that leave the machine fail the test."""
    context = browser.new_context(viewport=SIZES[request.param])
    tab, wrong = context.new_page(), []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("request", lambda sent: sent.url.startswith((site[1], "blob:", "data:")) or wrong.append(sent.url))
    tab.set_default_timeout(20_000)
    yield tab
    context.close()
    assert not wrong


def said(app):
    return app.state.reviews.verdicts(shelf_of(app).key, every=True)


def message(tab, text):
    tab.locator("#message", has_text=text).wait_for()


def test_review_by_keyboard(tab, site):
    app, address = site
    before = len(said(app))
    tab.goto(f"{address}/review/phantom")
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
    app, address = site
    before = len(said(app))
    tab.goto(f"{address}/review/phantom")
    tab.click("#accept")
    message(tab, "Accepted.")
    tab.click("#reject")
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
    assert [v.verdict for v in said(app)[before:]] == ["accept", "reject", "edit"]


def test_the_picture_zooms_moves_and_windows(tab, site):
    tab.goto(f"{site[1]}/review/phantom")
    stage = tab.locator("#stage canvas")
    zoom = tab.locator(".tools output")
    stage.wait_for()
    plain = stage.screenshot()
    tab.keyboard.press("+")
    tab.keyboard.press("+")
    assert zoom.text_content() in ("100 %", "125 %", "156 %")
    box = stage.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.wheel(0, -400)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2 + 40)
    tab.mouse.up()
    assert stage.screenshot() != plain
    tab.keyboard.press("f")
    tab.wait_for_timeout(100)
    assert zoom.text_content() == "100 %"
    tab.keyboard.press("i")
    tab.wait_for_timeout(100)
    assert tab.get_by_role("button", name="Invert").get_attribute("aria-pressed") == "true"
    grey = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("L"), dtype=float)
    assert grey.mean() > np.asarray(Image.open(io.BytesIO(plain)).convert("L"), dtype=float).mean()


def test_rate_by_keyboard_and_by_mouse(tab, site):
    app, address = site
    tab.goto(f"{address}/rate")
    for box in tab.locator("[name=arms]").all():
        box.uncheck()
    for arm in ("base", "stage2"):
        tab.check(f"[value='small/{arm}']")
    tab.get_by_role("button", name="Make the set").click()
    tab.locator(".card").nth(1).wait_for()
    assert tab.locator("#save").is_disabled()
    for key in "131c":
        tab.keyboard.press(key)
    tab.keyboard.press("Enter")
    message(tab, "Saved.")
    for card in tab.locator(".card").all():
        for scale in ("correctness", "completeness", "harm"):
            card.locator(f"[data-scale={scale}] label").first.click()
    tab.click("#save")
    tab.locator("#count", has_text="2 of 4").wait_for()
    number = app.state.ratings.sets()[0].id
    rated = app.state.ratings.rated(number)
    assert len(rated) == 4 and rated["cannot_judge"].sum() == 1 and "wrong" not in rated["correctness"].to_list()


def ready(tab, address):
    tab.goto(address)
    tab.locator("html[data-ready]").wait_for()


def test_inspect_words_methods_layers_and_heads(tab, site):
    ready(tab, f"{site[1]}/inspect/small/1")
    scale = tab.locator("#scale")
    assert "for the whole answer: attention" in scale.inner_text()
    tab.get_by_role("button", name="mass", exact=True).hover()
    assert "“mass”" in scale.inner_text() and tab.inner_text("#high") == "0.250"
    tab.get_by_role("button", name="left", exact=True).focus()
    assert "“left”" in scale.inner_text() and tab.inner_text("#high") == "0.500"
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="mass", exact=True).focus()
    tab.keyboard.press("Shift+Enter")
    tab.locator("#opacity").focus()
    assert "“mass” “left”" in scale.inner_text() and tab.inner_text("#high") == "0.250", (
        "the mean of .25 and .5 patches apart"
    )
    tab.keyboard.press("w")
    tab.locator("#layer").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.inner_text("#layer-said") == "1" and tab.inner_text("#head-said") == "mean"
    tab.keyboard.press("h")
    tab.locator("#tiles button").nth(5).wait_for()
    assert tab.locator("#tiles button").count() == 6
    tab.get_by_role("button", name="Layer 3, head 2").click()
    assert tab.inner_text("#layer-said") == "3" and tab.inner_text("#head-said") == "2"
    tab.locator(".methods label", has_text="relevancy").click()
    assert "orange speaks for it" in scale.inner_text() and tab.locator("#layer").is_disabled()
    assert tab.get_attribute("#npz", "href") == "/maps/small/1/relevancy/npz"


def test_inspect_brush_mask_and_files(tab, site):
    ready(tab, f"{site[1]}/inspect/small/1")
    stage = tab.locator(".stage canvas")
    with_mask = stage.screenshot()
    tab.keyboard.press("m")
    tab.wait_for_timeout(100)
    assert stage.screenshot() != with_mask, "the outline is gone"
    tab.keyboard.press("b")
    tab.keyboard.press(" ")
    # the patch in the corner: all of “left” (16 times chance), nothing of “mass”
    assert "1 patches: “left” 16.0 times chance, “mass” 0.0 times chance" in tab.inner_text("#brushed")
    assert tab.locator(".word.top").count() == 2
    box = stage.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2 + 30, box["y"] + box["height"] / 2, steps=3)
    tab.mouse.up()
    assert not tab.inner_text("#brushed").startswith("1 patches")
    tab.keyboard.press("Escape")
    assert tab.inner_text("#brushed") == ""
    with tab.expect_download() as download:
        tab.keyboard.press("s")
    with Image.open(download.value.path()) as picture:
        assert picture.format == "PNG" and picture.width == 896
    with tab.expect_download() as download:
        tab.click("#npz")
    with np.load(download.value.path()) as arrays:
        assert arrays["values"].shape == (3, 4, 4)


def test_two_answers_side_by_side_move_together(tab, site):
    ready(tab, f"{site[1]}/inspect/small/1")
    tab.select_option("#beside", "small/2")
    tab.get_by_role("button", name="Show").click()
    tab.locator(".pane").nth(1).wait_for()
    tab.locator("html[data-ready]").wait_for()
    tab.keyboard.press("+")
    tab.wait_for_timeout(150)
    assert [output.text_content() for output in tab.locator(".tools output").all()] == ["125 %", "125 %"]
    tab.keyboard.press("j")
    tab.wait_for_url("**/inspect/small/2")


def test_a_question_of_ones_own(tab, site):
    tab.goto(f"{site[1]}/ask")
    buffer = io.BytesIO()
    Image.effect_noise((90, 90), 60).save(buffer, "PNG")
    tab.set_input_files("[name=picture]", {"name": "a.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
    tab.fill("[name=question]", "Is this picture normal?")
    tab.get_by_role("button", name="Answer and explain").click()
    tab.locator("html[data-ready]").wait_for(timeout=60_000)
    assert "/inspect/asked/" in tab.url and tab.inner_text(".rail h2 >> nth=0") == "Asked here"


def test_examples_are_filtered_and_lead_to_maps(tab, site):
    tab.goto(f"{site[1]}/runs/small")
    tab.get_by_role("link", name="Examples").click()
    tab.select_option("[name=right]", "no")
    tab.get_by_role("button", name="Show").click()
    tab.get_by_role("link", name="maps of this answer").first.click()
    tab.locator("html[data-ready]").wait_for()


def test_no_page_is_wider_than_its_window_and_none_has_a_serious_accessibility_fault(tab, site):
    script = axe_script()
    for address in NEUTRAL:
        tab.goto(site[1] + address)
        if "/inspect/" in address:
            tab.locator("html[data-ready]").wait_for()
        assert tab.evaluate("document.documentElement.scrollWidth") <= tab.viewport_size["width"], address
        tab.evaluate(script)
        found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        assert not serious, (address, [(v["id"], [n["html"][:120] for n in v["nodes"][:3]]) for v in serious])


def test_signing_in_and_out(browser, tmp_path):
    app = app_over(make_site(tmp_path), tmp_path / "app.sqlite")
    app.state.accounts.add("vera", "reviewer", PASSWORD)
    with served(app) as address:
        context = browser.new_context(viewport=SIZES["900"])
        tab = context.new_page()
        tab.goto(f"{address}/people")
        tab.get_by_label("Name").focus()
        tab.keyboard.type("vera")
        tab.keyboard.press("Tab")
        tab.keyboard.type(PASSWORD)
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/review/phantom")
        assert tab.locator(".mast nav a").all_inner_texts() == ["Review", "Rate", "Inspect", "Runs"]
        tab.get_by_role("button", name="Sign out").click()
        tab.wait_for_url("**/sign-in")
        context.close()
