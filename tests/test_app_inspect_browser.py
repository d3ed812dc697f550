"""Inspect and Ask in a real Chromium: words, patches, layers, heads, methods, files, by mouse and by keyboard."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

pytest_plugins = ["app_tabs"]


def ready(tab, address):
    tab.goto(address)
    tab.locator("html[data-ready]").wait_for()


def scale(tab) -> str:
    return tab.inner_text("#scale")


def word(tab, text):
    return tab.get_by_role("button", name=text, exact=True)


def test_words_by_mouse_and_by_keyboard(tab, site):
    ready(tab, "/inspect/small/1")
    assert "for the whole answer: attention" in scale(tab)
    word(tab, "mass").hover()
    assert "“mass”" in scale(tab) and tab.inner_text("#high") == "0.250"
    word(tab, "left").focus()
    assert "“left”" in scale(tab) and tab.inner_text("#high") == "0.500"
    tab.keyboard.press("Enter")
    word(tab, "mass").focus()
    tab.keyboard.press("Shift+Enter")
    tab.locator("#opacity").focus()
    assert "“mass” “left”" in scale(tab), "a phrase, and it stays"
    assert tab.inner_text("#high") == "0.250", "the mean of .25 and .5 patches apart"
    word(tab, "mass").click()
    tab.locator(".mast").hover()
    tab.locator("#opacity").focus()
    assert "“mass”" not in scale(tab), "clicked again it is no longer chosen"
    tab.get_by_role("button", name="whole answer").click()
    assert "for the whole answer" in scale(tab)


def test_methods_layers_and_heads(tab, site):
    ready(tab, "/inspect/small/1")
    tab.locator("#layer").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.inner_text("#layer-said") == "1" and tab.inner_text("#head-said") == "mean"
    tab.locator("#head").fill("2")
    assert tab.inner_text("#head-said") == "2"
    tab.keyboard.press("h")
    tab.locator("#tiles button").nth(5).wait_for()
    assert tab.locator("#tiles button").count() == 6
    tab.get_by_role("button", name="Layer 3, head 2").click()
    assert tab.inner_text("#layer-said") == "3" and tab.inner_text("#head-said") == "2"
    tab.get_by_role("button", name="Layer 1, head 1").focus()
    tab.keyboard.press("Enter")
    assert tab.inner_text("#layer-said") == "1" and tab.inner_text("#head-said") == "1"
    assert "not faithful" in tab.locator(".methods label", has_text="raw").inner_text()
    tab.locator(".methods label", has_text="relevancy").click()
    assert "orange speaks for it" in scale(tab) and tab.locator("#layer").is_disabled()
    assert "Deletion 0.31 [0.21, 0.41] over 40 answers" in tab.inner_text("#faithful")
    assert tab.get_attribute("#npz", "href") == "/maps/small/1/relevancy/npz"
    tab.locator("[name=method]:checked").focus()
    tab.keyboard.press("ArrowUp")
    assert tab.inner_text("#npz") == "raw.npz"


def test_mask_opacity_and_patches(tab, site):
    ready(tab, "/inspect/small/1")
    stage, seen = tab.locator(".stage canvas"), []

    def differs() -> bool:
        tab.wait_for_timeout(60)
        seen.append(stage.screenshot())
        return seen[-1] not in seen[:-1]

    assert differs()
    tab.keyboard.press("m")
    assert differs(), "the outline is gone"
    tab.get_by_label("Patches as they are").check()
    assert differs()
    tab.locator("#opacity").focus()
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    assert differs() and tab.inner_text("#opacity-said") == "90 %"
    tab.locator("#opacity").fill("0")
    assert differs(), "the picture alone"
    tab.keyboard.press("+")
    assert differs() and tab.locator(".tools output").text_content() == "125 %"


def test_patches_light_words_up_by_mouse_and_by_keyboard(tab, site):
    ready(tab, "/inspect/small/1")
    tab.keyboard.press("b")
    tab.keyboard.press(" ")
    # the patch in the corner: all of “left” (16 times chance), nothing of “mass”
    assert "1 patches: “left” 16.0 times chance, “mass” 0.0 times chance" in tab.inner_text("#brushed")
    assert tab.locator(".word.top").count() == 2
    box = tab.locator(".stage canvas").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2 + 30, box["y"] + box["height"] / 2, steps=3)
    tab.mouse.up()
    assert not tab.inner_text("#brushed").startswith("1 patches")
    tab.keyboard.press("Escape")
    assert tab.inner_text("#brushed") == ""


def test_pictures_and_arrays_are_downloaded(tab, site):
    ready(tab, "/inspect/small/1")
    for save in (lambda: tab.keyboard.press("s"), lambda: tab.click("#png")):
        with tab.expect_download() as download:
            save()
        with Image.open(download.value.path()) as picture:
            assert picture.format == "PNG" and picture.width == 896
    with tab.expect_download() as download:
        tab.locator("#npz").focus()
        tab.keyboard.press("Enter")
    with np.load(download.value.path()) as arrays:
        assert arrays["values"].shape == (3, 4, 4)


@pytest.mark.parametrize("group, other", [("The same question", "other/1"), ("Others", "small/2")])
def test_two_models_and_two_questions_side_by_side(tab, site, group, other):
    ready(tab, "/inspect/small/1")
    assert tab.locator(f"#beside optgroup[label='{group}'] option[value='{other}']").count() == 1
    tab.select_option("#beside", other)
    if group == "Others":
        tab.get_by_role("button", name="Show").click()
    else:
        tab.get_by_role("button", name="Show").focus()
        tab.keyboard.press("Enter")
    tab.locator(".pane").nth(1).wait_for()
    tab.locator("html[data-ready]").wait_for()
    second = tab.locator(".stage canvas").nth(1)
    before = second.screenshot()
    tab.keyboard.press("+")
    tab.wait_for_timeout(100)
    assert second.screenshot() != before, "they move together"
    tab.locator(".pane").nth(1).get_by_role("button", name="left", exact=True).hover()
    assert "“left”" in scale(tab)
    tab.keyboard.press("j")
    tab.wait_for_url("**/inspect/small/2")


def uploads():
    """A picture of each kind; the DICOM file is pydicom's, and names its patient."""
    noise, files = Image.effect_noise((90, 90), 60), {}
    for kind in ("png", "jpeg"):
        noise.convert("L").save(buffer := io.BytesIO(), kind)
        files[kind] = (buffer.getvalue(), f"image/{kind}")
    scan = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    return files | {"dicom": (scan.read_bytes(), "application/dicom")}


def test_questions_about_pictures_of_ones_own(tab, site):
    for kind, (data, mime) in uploads().items():
        tab.goto("/ask")
        tab.set_input_files("[name=picture]", {"name": f"doe-jane.{kind}", "mimeType": mime, "buffer": data})
        if kind == "dicom":
            tab.get_by_label("Window").select_option("soft tissue")
        tab.get_by_label("Question").fill("Is this picture normal?")
        if kind == "jpeg":
            tab.get_by_role("button", name="Answer and explain").click()
        else:
            tab.keyboard.press("Enter")
        tab.locator("html[data-ready]").wait_for(timeout=60_000)
        assert "/inspect/asked/" in tab.url and tab.inner_text(".rail h2 >> nth=0") == "Asked here"
        text = tab.content().lower()
        assert "doe" not in text and "compressedsamples" not in text, "neither the file's name nor the patient's"
        tab.locator(".word").first.hover()
        assert "raw for “" in scale(tab)
        tab.locator("#layer").fill("2")
        assert tab.inner_text("#layer-said") == "2"
