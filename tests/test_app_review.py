"""Review over HTTP: verdicts kept once, queues, several reviewers, agreement, and what is written back."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from app_site import PASSWORD, Browser, app_over, make_site, queue, shelf_of, verdict, visible
from radvqa.app.reviewed import write_reviewed
from radvqa.calls import Calls
from radvqa.errors import InputError
from radvqa.sample import Corpus
from radvqa.score.judged import judge_predictions
from radvqa.score.ratings import read_ratings
from scripted_server import serving

SAY, NEXT = "/api/review/phantom/verdicts", "/api/review/phantom/next"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def app(run, tmp_path):
    return app_over(run, tmp_path / "app.sqlite")


def said(app, **more):
    return app.state.reviews.verdicts(shelf_of(app).key, **more)


def test_the_whole_queue_by_one_reviewer(app):
    queue(app)
    browser, item, seen = Browser(app), None, []
    item = browser.get(NEXT).json()
    while not item["done"]:
        seen.append(item["place"])
        item = browser.say(SAY, verdict(item["place"], seconds=1.5)).json()["next"]
    assert sorted(seen) == list(range(12)), "each once"
    assert len(said(app)) == 12 and {v.reviewer for v in said(app)} == {"local"}
    assert browser.get(NEXT).json()["progress"]["mine"] == 12


def test_sent_twice_stored_once_and_another_under_the_same_key_refused(app):
    queue(app)
    browser, one = Browser(app), verdict(3)
    assert [browser.say(SAY, one).json()["saved"] for _ in range(3)] == [True, False, False]
    assert browser.say(SAY, {**one, "place": 4}).status_code == 400
    assert len(said(app, every=True)) == 1


def test_a_changed_mind_is_a_new_row_and_the_last_one_counts(app):
    queue(app)
    browser = Browser(app)
    browser.say(SAY, verdict(3, "reject", reason="duplicate", comment="twice"))
    item = browser.get("/api/review/phantom/items/3").json()
    assert item["said"] == {
        "verdict": "reject",
        "reason": "duplicate",
        "comment": "twice",
        "question": None,
        "answer": None,
    }
    browser.say(SAY, verdict(3, "edit", answer="maybe"))
    assert [v.verdict for v in said(app)] == ["edit"] and [v.verdict for v in said(app, every=True)] == [
        "reject",
        "edit",
    ]
    page = browser.page("/review/phantom")
    assert '"history": [3, 3]' in page, "undo can go back after the page is loaded again"


def test_nul_bytes_are_not_stored(app):
    Browser(app).say(SAY, verdict(0, "edit", answer="a\0b"))
    assert said(app)[0].answer == "ab", "PostgreSQL cannot hold them"


@pytest.mark.parametrize("how, more", [("random", {}), ("stratified", {"by": "modality"}), ("uncertain", {})])
def test_queues_by_strategy(app, how, more):
    browser = Browser(app)
    assert browser.form("/review/phantom/queue", how=how, number="3", **more).status_code == 303
    drawn = app.state.reviews.drawn(shelf_of(app).key)
    assert len(drawn) == 3 and {d.how for d in drawn} == {how}
    if how == "stratified":
        assert sorted(d.stratum for d in drawn) == ["modality=CT", "modality=MR", "modality=X-ray"]
    if how == "uncertain":
        assert [d.sample for d in drawn] == ["q0", "q3", "q6"], "probabilities 0.1, 0.2, 0.3 and 0.4 of q0, q3, q6, q9"
    assert any(e.what == "queue made" for e in app.state.accounts.events())


def test_a_queue_by_a_column_that_is_none_is_refused(app):
    assert Browser(app).form("/review/phantom/queue", how="stratified", by="id").status_code == 400


def test_the_same_questions_go_to_several_reviewers_and_their_agreement_is_shown(app):
    queue(app, wanted=2)
    people = {}
    for name in ("ada", "bo", "cy"):
        app.state.accounts.add(name, "admin", PASSWORD)
        people[name] = Browser(app)
        people[name].sign_in(name)
    for name, browser in people.items():
        while not (item := browser.get(NEXT).json())["done"]:
            wrong = name == "bo" and item["place"] < 3
            more = {"verdict": "reject", "reason": "wrong answer"} if wrong else {}
            assert browser.say(SAY, verdict(item["place"]) | more).status_code == 200
    given = [(v.sample, v.reviewer) for v in said(app)]
    assert len(given) == len(set(given)) == 24, "two reviewers each, no one twice"
    assert {v.reviewer for v in said(app)} == {"ada", "bo"}, "the third finds nothing left"
    text = visible(people["ada"].page("/review/phantom/agreement"))
    # by hand: 24 labels, 21 accept, 3 reject; D_o = 3 x 2 / 24 = 1/4; D_e = 2 x 21 x 3 / (24 x 23) = 126/552
    # alpha = 1 - 0.25 / 0.22826 = -0.095
    assert "−0.10" in text and "ada and bo 12 75" in text and "wrong answer 3" in text
    assert "bo: reject (wrong answer)" in text


def test_many_at_once_lose_and_double_nothing(app):
    queue(app, wanted=2)

    def work(number: int) -> int:
        browser, done = Browser(app), 0
        app.state.reviews.progress("nothing")
        item = browser.get(NEXT).json()
        while not item["done"] and done < 3:
            item = browser.say(SAY, verdict(item["place"])).json()["next"]
            done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        total = sum(pool.map(work, range(4)))
    assert total >= 12 and len(said(app, every=True)) == total, "every acknowledged verdict is there, once"


def test_export_writes_a_corpus_that_says_who_decided_what(app, run):
    browser = Browser(app)
    ids = shelf_of(app).table["id"].to_list()
    browser.say(SAY, verdict(1, "edit", question="Is number one a cyst?", answer="maybe"))
    browser.say(SAY, verdict(2, "reject", reason="bad language", comment="no"))
    browser.say(SAY, verdict(3))
    text = visible(browser.form("/review/phantom/export").text)
    assert "dropped 1" in text and "edited 1" in text and "accepted 1" in text and "unreviewed 9" in text
    out = max((run / "corpora").glob("phantom-reviewed-*"))
    found = {s.id: s for s in Corpus(out).samples()}
    assert set(ids) - set(found) == {ids[2]}
    assert found[ids[1]].question == "Is number one a cyst?" and found[ids[1]].answers == ("maybe",)
    assert (
        found[ids[1]].extra["review"]["reviewers"] == ["local"] and found[ids[3]].extra["review"]["verdict"] == "accept"
    )
    assert "review" not in found[ids[4]].extra
    gone = pl.read_parquet(out / "dropped.parquet").row(0, named=True)
    assert gone["reason"] == "rejected: bad language" and gone["comments"] == ["no"] and gone["reviewers"] == ["local"]
    card = json.loads((out / "card.json").read_text())
    assert (
        card["licence"] == "CC0-1.0"
        and card["review"]["num_verdicts"] == 3
        and card["dropped"] == {"rejected: bad language": 1}
    )


def test_only_reviewed_leaves_the_rest_out(app, tmp_path):
    Browser(app).say(SAY, verdict(3))
    out, counts = write_reviewed(shelf_of(app).corpus, said(app), True, tmp_path / "out")
    assert counts == {"accept": 1, "dropped": 11} and len(list(Corpus(out).samples())) == 1
    with pytest.raises(InputError, match="nothing was reviewed"):
        write_reviewed(shelf_of(app).corpus, [], False, tmp_path / "none")


# ---------------------------------------------------------------- rating


def new_set(browser, *arms, number="10"):
    response = browser.form("/rate", arms=list(arms), number=number)
    assert response.status_code == 303, response.text
    return int(response.headers["location"].split("/")[-1])


def rating(slot: int, correctness="correct", **more) -> dict:
    full = {"correctness": correctness, "completeness": "complete", "harm": "none"}
    return {"key": verdict(0)["id"], "slot": slot} | full | more


def test_raters_do_not_learn_whose_answer_it_is(app):
    browser = Browser(app)
    number = new_set(browser, "small/base", "small/stage2")
    item = browser.get(f"/api/rate/{number}/next").json()
    assert sorted(item["answers"]) in (["no", "yes"], ["perhaps <b>", "yes"])
    for text in (json.dumps(item), browser.page(f"/rate/{number}")):
        assert "stage2" not in text and "base" not in text.replace("base-uri", "")
    orders = []
    while not item["done"]:
        orders.append(item["answers"].index("yes"))
        item = browser.say(
            f"/api/rate/{number}/ratings", {"place": item["place"], "ratings": [rating(0), rating(1)]}
        ).json()
    assert len(orders) == 4, "the four test questions"


def test_the_order_of_two_answers_is_random_and_the_same_again(app):
    from radvqa.app.ratings import RatingSet, to_rate

    answers = app.state.library.runs["small"].answers
    many = pl.concat([answers.with_columns(pl.col("id") + f"-{i}") for i in range(50)])
    sets = [to_rate(many, RatingSet(1, "small", ("base", "stage2"), 200, seed, 0.0)) for seed in (1, 1, 2)]
    first = [[a["arms"][0] for a in shown].index("stage2") for shown in sets[0]]
    assert 70 < sum(first) < 130, "of 200; outside of it once in 50,000 fair draws"
    ids = [[shown[0]["row"]["id"] for shown in found] for found in sets]
    assert ids[0] == ids[1] and ids[0] != ids[2]


def test_ratings_are_summed_by_model_and_downloaded(app):
    browser = Browser(app)
    number = new_set(browser, "small/base", "small/stage2")
    item = browser.get(f"/api/rate/{number}/next").json()
    while not item["done"]:
        place = [rating(i, "correct" if text == "yes" else "wrong") for i, text in enumerate(item["answers"])]
        item = browser.say(f"/api/rate/{number}/ratings", {"place": item["place"], "ratings": place}).json()
    assert item["progress"] == {"mine": 4, "wanted": 4}
    table = pl.read_parquet(io.BytesIO(browser.get(f"/rate/{number}/ratings.parquet").content))
    assert dict(table.group_by("arm").agg(pl.col("verdict").unique()).iter_rows()) == {
        "base": ["wrong"],
        "stage2": ["correct"],
    }
    assert set(table.columns) == {
        "id",
        "image",
        "arm",
        "control",
        "rater",
        "verdict",
        "completeness",
        "harm",
        "cannot_judge",
        "comment",
        "at",
    }
    # Wilson, 4 of 4: (1 + 3.8415/8) / (1 + 3.8415/4) -+ 1.96 sqrt(3.8415/64) / (1 + 0.9604) = [0.51, 1]
    assert "100 % [51 %, 100 %]" in visible(browser.page(f"/rate/{number}/results"))


def test_the_download_calibrates_the_judge(app, run, tmp_path):
    browser = Browser(app)
    number = new_set(browser, "small/base", "small/stage2")
    item = browser.get(f"/api/rate/{number}/next").json()
    cannot = {"key": verdict(0)["id"], "cannot_judge": True}
    while not item["done"]:
        place = [rating(i, "correct" if text == "yes" else "partly") for i, text in enumerate(item["answers"])]
        place = [cannot | {"slot": i} if "perhaps" in item["answers"][i] else one for i, one in enumerate(place)]
        item = browser.say(f"/api/rate/{number}/ratings", {"place": item["place"], "ratings": place}).json()
    file = tmp_path / "ratings.parquet"
    file.write_bytes(browser.get(f"/rate/{number}/ratings.parquet").content)
    people = read_ratings(file)
    assert len(people) == 7 and people["rating"].sum() == 4, "of 8 one could not be judged; partly is not right"

    def kind(request, number):  # finds every answer correct but the one that people could not judge
        found = "wrong" if "perhaps" in request["messages"][1]["content"] else "correct"
        return json.dumps({"reason": "", "verdict": found})

    asked = [run / "predictions" / f"{arm}-none" for arm in ("base", "stage2")]
    with serving(kind) as server, Calls(tmp_path / "calls.sqlite", server.url, "kind judge") as calls:
        found = judge_predictions(asked, tmp_path / "judge", [calls], ratings=file, num_draws=100)
    of = {row["arm"]: row for row in found["calibration"]}
    assert {arm: row["num_rated"] for arm, row in of.items()} == {"base": 3, "stage2": 4}
    assert of["stage2"]["sensitivity"] == 1.0 and of["base"]["specificity"] == 0.0, "people call the base's wrong"


def test_wilson_by_hand():
    from radvqa.app.ratings import wilson

    found = wilson(0, 10)  # z2/n / (1 + z2/n) = 0.38415 / 1.38415
    assert found["share"] == 0 and found["low"] == 0 and found["high"] == pytest.approx(0.2775, abs=1e-4)
    assert wilson(0, 0) == {"share": None, "low": None, "high": None}


def test_what_two_models_say_alike_is_rated_once_for_both(app):
    from radvqa.app.ratings import RatingSet, to_rate

    answers = app.state.library.runs["small"].answers.with_columns(answer=pl.lit("same"))
    shown = to_rate(answers, RatingSet(1, "small", ("base", "stage2"), 9, 0, 0.0))
    assert [[a["arms"] for a in one] for one in shown] == [[["base", "stage2"]]] * 4


@pytest.mark.parametrize(
    "ratings",
    [
        [], [rating(0)], [rating(0), rating(0)], [rating(0), rating(2)], [rating(0), rating(1, "great")],
        [rating(0), rating(1, None)], [rating(0), rating(1, cannot_judge=True)], [rating(0), {**rating(1), "key": "x"}],
    ],
)  # fmt: skip
def test_ratings_that_will_not_do(app, ratings):
    browser = Browser(app)
    number = new_set(browser, "small/base", "small/stage2")
    response = browser.say(f"/api/rate/{number}/ratings", {"place": 0, "ratings": ratings})
    assert response.status_code in (400, 422) and app.state.ratings.rated(number).is_empty()


def test_cannot_judge_is_counted_apart(app):
    browser = Browser(app)
    number = new_set(browser, "small/stage2")
    cannot = {"key": verdict(0)["id"], "slot": 0, "cannot_judge": True}
    assert browser.say(f"/api/rate/{number}/ratings", {"place": 0, "ratings": [cannot]}).status_code == 200
    from radvqa.app.ratings import summary

    (row,) = summary(app.state.ratings.rated(number), ["stage2"])
    assert row["n"] == 0 and row["cannot"] == 1 and row["scales"]["harm"][0]["share"] is None


def test_sets_of_models_that_are_not_there_are_refused(app):
    browser = Browser(app)
    for arms in (["small/none"], ["none/base"], ["small/base", "small/base"], ["base"], ["a/b", "c/d"]):
        assert browser.form("/rate", arms=arms).status_code == 400, arms
