"""The store of verdicts: once however often sent, safe with many writers, the same on SQLite and PostgreSQL."""

from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from uuid import uuid4

import pytest

from radvqa.errors import InputError
from radvqa.review import LEASE_S, Drawn, ReviewStore, Verdict


def verdict(sample="q1", reviewer="ada", kind="accept", **more):
    return Verdict(
        **{"id": str(uuid4()), "corpus": "c", "sample": sample, "reviewer": reviewer, "verdict": kind, **more}
    )


def queue(number):
    return [Drawn(sample=f"q{i}", how="random") for i in range(number)]


@pytest.fixture(params=["sqlite", "postgres"])
def where(request, tmp_path):
    """An empty place for each test: a file, or the server with its tables emptied."""
    if request.param == "sqlite":
        return str(tmp_path / "reviews.sqlite")
    url = request.getfixturevalue("postgres")
    store = ReviewStore(url)
    with store._engine.connect() as connection:
        connection.exec_driver_sql("TRUNCATE verdicts, slots")
    store.close()
    return url


def test_what_is_saved_comes_back_and_the_last_word_counts(where):
    store = ReviewStore(where)
    first = verdict(kind="reject", reason="wrong answer", comment="links, nicht rechts", seconds=4.5)
    assert store.save(first) and store.save(verdict(kind="edit", answer="left")) and store.save(verdict(reviewer="bo"))
    last = store.verdicts("c")
    assert {(v.reviewer, v.verdict, v.answer) for v in last} == {("ada", "edit", "left"), ("bo", "accept", None)}
    whole = store.verdicts("c", every=True)
    assert len(whole) == 3 and whole[0].comment == "links, nicht rechts" and whole[0].at
    assert store.verdicts("c", reviewer="bo")[0].verdict == "accept" and store.verdicts("other") == []


def test_the_same_id_is_stored_once_and_never_for_another_verdict(where):
    store, once = ReviewStore(where), verdict()
    assert store.save(once) is True and store.save(once) is False
    with pytest.raises(InputError, match="another verdict has this id"):
        store.save(verdict(id=once.id, kind="reject", reason="other"))
    assert [v.verdict for v in store.verdicts("c", every=True)] == ["accept"]


def test_each_question_goes_to_as_many_reviewers_as_wanted(where):
    store = ReviewStore(where)
    assert store.enqueue("c", queue(3), wanted=2) == 3 and store.enqueue("c", queue(4), wanted=2) == 1
    assert store.next("c", "ada") == "q0" == store.next("c", "ada")  # until it is judged, the same again
    store.save(verdict("q0", "ada"))
    assert store.next("c", "ada") == "q1" and store.next("c", "bo") == "q0"
    store.save(verdict("q0", "bo"))
    store.save(verdict("q1", "bo"))  # without having been given it
    assert store.next("c", "cy") == "q2" and store.next("c", "bo") == "q2"
    assert store.next("c", "di") == "q3"
    assert store.progress("c") == {"questions": 4, "wanted": 8, "given": 3}
    assert [d.sample for d in store.drawn("c")] == ["q0", "q1", "q2", "q3"]
    assert store.next("nothing", "ada") is None


def test_a_question_left_lying_goes_to_somebody_else(where):
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    store = ReviewStore(where, now=lambda: clock[0])
    store.enqueue("c", queue(2))
    assert store.next("c", "ada") == "q0" and store.next("c", "bo") == "q1" and store.next("c", "cy") is None
    store.save(verdict("q1", "bo"))
    clock[0] += timedelta(seconds=LEASE_S + 1)
    assert store.next("c", "cy") == "q0"  # ada let it lie; bo's is judged and stays his
    assert store.next("c", "ada") is None


def _work(where, reviewer, number):
    store, done = ReviewStore(where), []
    while (sample := store.next("c", reviewer)) is not None:
        done.append(sample)
        assert store.save(verdict(sample, reviewer))
    for i in range(number):
        store.save(verdict(f"free{i}", reviewer, id=f"{reviewer}-{i}"))
        store.save(verdict(f"free{i}", reviewer, id=f"{reviewer}-{i}"))
    store.close()
    return done


def test_many_processes_write_at_once_and_nothing_is_lost_or_done_twice(where):
    store = ReviewStore(where)
    store.enqueue("c", queue(30), wanted=2)
    names = ["r0", "r1"]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(_work, [where] * 2, names, [40] * 2))
    assert Counter(s for some in done for s in some) == Counter({f"q{i}": 2 for i in range(30)})
    assert all(len(set(some)) == len(some) for some in done)
    assert len(store.verdicts("c", every=True)) == 60 + 80


def test_threads_share_a_store(where):
    store = ReviewStore(where)
    store.enqueue("c", queue(24))
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda i: store.next("c", f"r{i}"), range(24)))
    assert sorted(given) == sorted(f"q{i}" for i in range(24))


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "maybe"}, {"kind": "reject"}, {"kind": "reject", "reason": "meh"}, {"kind": "edit", "answer": "  "},
     {"reviewer": " "}, {"id": ""}],
)  # fmt: skip
def test_a_verdict_that_says_nothing_is_refused(wrong):
    with pytest.raises(InputError):
        verdict(**wrong)


@pytest.mark.parametrize(
    "bad", ["nosuch://x", "postgresql+psycopg://u:secret@/x?host=/nowhere", "/nowhere/at/all.sqlite"]
)
def test_no_database_is_one_sentence_without_the_password(bad):
    with pytest.raises(InputError) as error:
        ReviewStore(bad)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)
