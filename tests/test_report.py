"""The page: whole, self-contained, escaped, with the numbers of the files; and honest about what is not there."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import product

import pytest
from PIL import Image

from radvqa.errors import InputError
from radvqa.report import write_report
from report_run import CLOSED, HOSTILE, make_run

INLINE = {"strong", "span", "code", "b", "i", "a"}
VOID = {"meta", "img", "input", "br", "line", "circle", "rect", "path"}
SECTIONS = ("summary", "data", "training", "scores", "slices", "saliency", "provenance")


class Page(HTMLParser):
    """The parts of a page a test asks for; its tags must close in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.text += "" if tag in INLINE else " "
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data

    def said(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="module")
def html(run):
    return write_report(run, run.parent / "page.html").read_text()


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


# ---------------------------------------------------------------- the whole page


def test_the_page_needs_no_network(html, page):
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "data", "poster", "background", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert "xlink:href" not in attributes
    assert not re.search(r"url\(|@import|@font-face", html)
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert links and all(link.startswith("#") for link in links)  # the card's homepage is no web address


def test_only_the_script_of_the_page_may_run(html):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html).group(1)
    script = re.search(r"<script>(.*?)</script>", html, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert html.count("<script") == 1


def test_what_the_data_says_is_text_and_never_markup(html, page):
    assert HOSTILE not in html and "<i>v1</i>" not in html and "<oh>" not in html
    assert HOSTILE in page.said() and "Phantoms <i>v1</i>" in page.said()


def test_the_page_is_well_formed_and_accessible(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids)) and set(SECTIONS) <= set(ids)
    assert all(a.get("alt") is not None for tag, a in page.tags if tag == "img")
    assert sum(tag == "h1" for tag, _ in page.tags) == 1
    assert all(a.get("aria-label") for tag, a in page.tags if tag == "svg")
    assert {a["href"] for tag, a in page.tags if tag == "a"} >= {f"#{name}" for name in SECTIONS}


def test_pictures_are_small_and_shown_once_each_where_they_belong(html, page):
    pictures = [a["src"] for tag, a in page.tags if tag == "img" and "webp" in a["src"]]
    # 4 in the data card; 4 test questions with the picture and 2 methods each
    assert len(pictures) == 4 + 4 * 3
    for uri in pictures:
        with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
            assert max(image.size) <= 448
    assert len(html) < 400_000


def test_the_numbers_of_the_files_are_on_the_page(page):
    said = page.said()
    for found in CLOSED.values():
        for value, low, high in found:
            assert f"{value:.2f} [{low:.2f}, {high:.2f}]" in said
    for text in (
        "small run",
        "radvqa-tiny adapted to Phantoms",
        "asked 4 questions about 4 images",
        "Licence CC0-1.0",
        "Somebody & Sons (2026).",
        "the answer is empty 7",
        "Lowest validation loss 1.250 at step 20",
        "Answer tokens learned from 1,500",  # 30 steps of 50
        "0.26 [0.24, 0.28]",  # token F1 of base: half of 0.52 [0.49, 0.55]
        "Stage 2 scores higher than the base model: +0.35 [+0.31, +0.39], p < 0.001.",
        "probability 0.73",
        "31 % in the outline",
        "true evidence 25 % of the picture",  # the question has a mask
        "labelled boxes 25 % of the picture",  # it has none, so the outline is of boxes
        "unit of relevancy; orange speaks for the answer, purple against it",
        "4 epochs",
        "phantom: modality, plane",
    ):
        assert text in said, text
    assert "Right answers 2 of 700" in said and "Wrong answers 2 of 120" in said


def test_warnings_stand_before_the_first_number(page):
    said = page.said()
    assert said.index("not above the blank-image score") < said.index("Closed accuracy rose from")


def test_the_methods_are_ranked_and_those_that_fail_are_named(page):
    said = page.said()
    assert "Measured on 40 right answers, 39 with a known truth. Trust relevancy for this model" in said
    assert "points at the true evidence in 85%" in said
    assert "No better than controls in deletion: raw." in said and "Fail a sanity check: raw." in said
    assert "relevancy 0.31 0.21 to 0.41 +0.22 p < 0.001" in said and "not, fails: random weights" in said


def test_provenance_names_every_step_and_adds_up(run, page):
    said = page.said()
    steps = [json.loads(path.read_text()) for path in run.rglob("stage.json")]
    assert len(steps) == 14
    for name in ("corpora/phantom", "stage1", "predictions/base-blank", "scores", "saliency"):
        assert name in said
    total = sum(step["wall_s"] for step in steps)
    assert f"{total:.1f} s in all" in said
    assert all(step["fingerprint"][:12] in said for step in steps)
    assert "num_pictures: 4" in said and steps[0]["versions"]["radvqa"] in said


def test_the_same_run_gives_the_same_bytes_and_leaves_nothing_else(run, tmp_path, html):
    out = write_report(run, tmp_path / "deep" / "report.html")
    assert out.read_text() == html and [p.name for p in out.parent.iterdir()] == ["report.html"]
    titled = write_report(run, out, title="Mine & <yours>")
    assert '<h1 id="title">Mine &amp; &lt;yours&gt;</h1>' in titled.read_text()


def test_an_earlier_page_and_unfinished_steps_are_no_part_of_the_run(run, tmp_path, html):
    copy = shutil.copytree(run, tmp_path / "small")
    shutil.copytree(copy / "scores", copy / "report")
    shutil.copytree(copy / "stage1", copy / "stage1.partial")
    (copy / "stage1.partial" / "log.jsonl").write_text("not JSON\n")
    assert write_report(copy, tmp_path / "page.html").read_text() == html


# ---------------------------------------------------------------- runs that are not whole


def test_an_empty_run_says_what_is_missing(tmp_path):
    (tmp_path / "nothing").mkdir()
    said = Page(write_report(tmp_path / "nothing", tmp_path / "page.html").read_text()).said()
    for text in ("No scores yet", "No corpus yet", "No training log", "No slices", "No saliency maps", "No recipe"):
        assert text in said


@pytest.mark.parametrize("part", ["recipe.yaml", "corpora", "stage1", "predictions", "scores", "saliency"])
def test_any_one_part_may_be_missing(run, tmp_path, part):
    copy = shutil.copytree(run, tmp_path / "small")
    gone = copy / part
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    if part == "corpora":  # the maps lie over its pictures: without it, the finished ones are shown
        for number, method in product(range(4), ("raw", "relevancy")):
            Image.new("RGB", (20, 30)).save(copy / "saliency" / f"{number}-{method}.png")
    said = Page(write_report(copy, tmp_path / "page.html").read_text()).said()
    assert ("Not finished: Stage 1." in said) == (part == "stage1")
    assert "Provenance" in said and ("0.87 [0.84, 0.90]" in said) == (part != "scores")


def test_a_log_that_was_cut_in_a_line_is_drawn_and_says_so(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "small")
    log = copy / "stage1" / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 31, "lo')
    assert "the run was cut there" in Page(write_report(copy, tmp_path / "page.html").read_text()).said()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("scores/scores.json", "{"),
        ("scores/scores.json", "[]"),
        ("saliency/index.json", "nothing"),
        ("saliency/ranking.json", "["),
        ("recipe.yaml", "a: [1"),
        ("stage1/log.jsonl", '{"step": 1\n{"step": 2, "loss": 1}\n'),
        ("stage2/stage.json", "{"),
    ],
)
def test_a_broken_file_is_named_and_no_page_is_written(run, tmp_path, file, text):
    copy = shutil.copytree(run, tmp_path / "small")
    (copy / file).write_text(text)
    with pytest.raises(InputError) as error:
        write_report(copy, tmp_path / "out" / "page.html")
    assert str(copy / file) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_mask_or_a_map_that_is_gone_is_named(run, tmp_path):
    for file, fix in (("1-mask.png", "explain"), ("1-raw.npz", "1-raw.png")):
        copy = shutil.copytree(run, tmp_path / file)
        (copy / "saliency" / file).unlink()
        with pytest.raises(InputError, match=fix):
            write_report(copy, tmp_path / "page.html")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such run folder"):
        write_report(tmp_path / "nowhere", tmp_path / "page.html")


def test_the_page_is_written_without_torch(run, tmp_path):
    code = "import sys; from radvqa.report import write_report; write_report(*sys.argv[1:]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(run), str(tmp_path / "page.html")], check=True)
