"""Many reviewers at once, the server killed on the way: nothing acknowledged is lost, nothing is doubled.

A smaller version of benchmarks/app.py, on SQLite and on PostgreSQL, against `radvqa app` in a process of its own.
"""

import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from PIL import Image

from radvqa.sample import CorpusWriter, Sample

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from app_reviewers import Server, checked, fill, review, reviewers

QUESTIONS, REVIEWERS = 150, 8


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "many"
    with CorpusWriter(folder, {"name": "many", "licence": "CC0-1.0"}) as writer:
        for i in range(QUESTIONS):
            about = {
                "question": f"Is it {i}?",
                "answers": ("yes",),
                "kind": "closed",
                "split": "train",
                "source": "toy",
            }
            writer.add(Sample(id=f"q{i}", **about), Image.new("L", (8, 8), i % 3))
    return folder


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    """A file, or a database of its own on the server."""
    if request.param == "sqlite":
        return tmp_path / "app.sqlite"
    url = sa.make_url(request.getfixturevalue("postgres"))
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE load")
    engine.dispose()
    return url.set(database="load").render_as_string(hide_password=False)


def test_a_killed_server_loses_no_acknowledged_verdict_and_doubles_none(corpus, database):
    key = fill(corpus, database, QUESTIONS)
    cookies = reviewers(database, REVIEWERS)
    with Server(database, "--corpus", corpus) as server:
        found = checked(database, key, review(server, cookies, "many", QUESTIONS, kills=1), QUESTIONS)
    assert found["lost"] == found["doubled"] == 0
    assert found["acknowledged"] == found["stored"] == found["questions_done"] == QUESTIONS
    assert found["retries"] > 0, "somebody was cut off, else the kill has tried nothing"
