"""Maps as the browser gets them, the questions asked here, and the tables: numbers that must come out unchanged."""

import io
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app_site import HEADS, LAYERS, PASSWORD, Browser, app_over, make_site
from radvqa.app.database import META, database_url, open_database
from radvqa.app.pack import pack
from radvqa.errors import InputError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_site(tmp_path_factory.mktemp("site"))


def unpack(data: bytes):
    """The header and a function that reads an array, as maps.js does."""
    length = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + length])
    assert length % 4 == 0, "typed arrays begin at multiples of 4"

    def array(offset: int, shape, kind: str) -> np.ndarray:
        assert offset % 4 == 0
        return np.frombuffer(data, kind, int(np.prod(shape)), 4 + length + offset).reshape(shape)

    return header, array


def test_packed_maps_are_the_arrays(run):
    files = {name: run / "saliency" / f"1-{name}.npz" for name in ("raw", "relevancy")}
    header, array = unpack(pack(files))
    raw, relevancy = header["methods"]
    assert header["tokens"] == ["mass", " left", "<eos>"] and header["words"] == [["mass", 0, 1], ["left", 1, 2]]
    assert (raw["name"], raw["signed"], relevancy["signed"], raw["chosen"]) == ("raw", False, True, [0, 1])
    with np.load(files["raw"]) as stored:
        assert np.array_equal(array(raw["values"], raw["shape"], "<f4"), stored["values"])
        assert np.array_equal(array(raw["prompt"]["values"], raw["prompt"]["shape"], "<f4"), stored["prompt_values"])
        heads = raw["heads"]
        assert heads["shape"] == [LAYERS, HEADS, 3, 16]
        largest = array(heads["largest"], heads["shape"][:3], "<f4")
        back = array(heads["steps"], heads["shape"], "<u2") / 65535 * largest[..., None]
        assert np.abs(back - stored["details/image"]).max() <= largest.max() / 131070 * 1.01
    assert "heads" not in relevancy and array(relevancy["values"], relevancy["shape"], "<f4")[0, 3, 0] == -0.125


def test_a_map_of_zeros_and_maps_of_layers_with_a_sign(tmp_path):
    np.savez(tmp_path / "a.npz", values=np.zeros((1, 2, 2)), **{"details/image": -np.ones((1, 1, 1, 4))})
    (tmp_path / "a.json").write_text(json.dumps({"scale": "s", "signed": True, "chosen": [0]}))
    header, _ = unpack(pack({"a": tmp_path / "a.npz"}))
    assert "heads" not in header["methods"][0], "steps have no sign"
    assert header["words"] == [["1", 0, 1]]


@pytest.mark.parametrize("broken", ["cut", "pickle", "flat", "no json"])
def test_maps_that_cannot_be_read_name_their_file(tmp_path, broken):
    np.savez(tmp_path / "a.npz", values=np.zeros((4,) if broken == "flat" else (1, 2, 2)))
    (tmp_path / "a.json").write_text(
        "{" if broken == "no json" else json.dumps({"scale": "s", "signed": False, "chosen": [0]})
    )
    if broken == "cut":
        (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:60])
    if broken == "pickle":
        np.savez(tmp_path / "a.npz", values=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"a\.npz"):
        pack({"a": tmp_path / "a.npz"})


def test_maps_and_files_over_http(run, tmp_path):
    browser = Browser(app_over(run, tmp_path / "a.sqlite"))
    header, _ = unpack(browser.get("/maps/small/1").content)
    assert [method["name"] for method in header["methods"]] == ["raw", "relevancy"]
    response = browser.get("/maps/small/1/raw/npz")
    assert response.content == (run / "saliency" / "1-raw.npz").read_bytes()
    assert 'filename="small-1-1-raw.npz"' in response.headers["content-disposition"]
    assert browser.get("/maps/small/1/mask").headers["content-type"] == "image/png"
    assert browser.get("/maps/small/0/mask").status_code == 404, "the first has none"
    assert browser.get("/maps/small/1/nothing/npz").status_code == 404


def test_faithfulness_stands_beside_the_name_of_a_method(run, tmp_path):
    measures = [{"measure": "deletion", "fill": "blur", "n": 40, "value": 0.31, "low": 0.25, "high": 0.37}]
    row = {"method": "raw", "verdict": "not", "measures": measures, "paired": []}
    (run / "saliency" / "ranking.json").write_text(json.dumps({"methods": [row]}))
    text = Browser(app_over(run, tmp_path / "a.sqlite")).page("/inspect/small/1")
    assert "not faithful · deletion 0.31" in text and "Deletion 0.31 [0.25, 0.37] over 40 answers" in text
    assert "Here 31 % of the map lies in the true mask; chance is 25 %." in text
    assert "not measured" in text, "relevancy is not in it"
    (run / "saliency" / "ranking.json").unlink()


def test_a_question_asked_here_is_its_askers_alone(run, tmp_path):
    app = app_over(run, tmp_path / "a.sqlite", model="radvqa-tiny", methods=("raw", "rollout"))
    for name in ("ann", "ben"):
        app.state.accounts.add(name, "reader", PASSWORD)
    ann, ben = Browser(app), Browser(app)
    ann.sign_in("ann"), ben.sign_in("ben")
    buffer = io.BytesIO()
    Image.effect_noise((120, 100), 60).save(buffer, "PNG")
    files = {"picture": ("doe-jane.png", buffer.getvalue(), "image/png")}
    response = ann.post("/ask", data={"csrf": ann.csrf, "question": "What is <shown>?"}, files=files)
    assert response.headers["location"] == "/inspect/asked/1", response.text
    text = ann.page("/inspect/asked/1")
    assert "What is &lt;shown&gt;?" in text and "doe" not in text
    header, _ = unpack(ann.get("/maps/asked/1").content)
    assert [method["name"] for method in header["methods"]] == ["raw", "rollout"] and "heads" in header["methods"][0]
    assert Image.open(io.BytesIO(ann.get("/asked/1/picture").content)).size == (120, 100)
    for address in ("/inspect/asked/1", "/maps/asked/1", "/asked/1/picture", "/maps/asked/1/raw/npz"):
        assert ben.get(address).status_code == 404, "ben did not ask"
    folder = Path(app.state.asker._folder.name)
    app.state.asker.close()
    assert not folder.exists()


# ---------------------------------------------------------------- tables


def test_the_migrations_make_the_tables_that_the_code_means(tmp_path):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = open_database(tmp_path / "a.sqlite")
    with engine.connect() as connection:
        mine = {
            "include_name": lambda name, kind, parents: kind != "table" or name in META.tables,
            "version_table": "app_version",
        }
        assert compare_metadata(MigrationContext.configure(connection, opts=mine), META) == []
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert pragmas == ["wal", 2, 1], "2: full, an acknowledged row outlives a power cut"
    engine.dispose()
    open_database(tmp_path / "a.sqlite").dispose()
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        assert connection.execute("select count(*) from app_version").fetchone() == (1,)


def test_databases_that_cannot_be_opened_say_so_without_the_password(tmp_path):
    with pytest.raises(InputError, match="database"):
        open_database(tmp_path / "no" / "such" / "a.sqlite")
    with pytest.raises(InputError) as error:
        open_database("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(error.value)
    with pytest.raises(InputError):
        open_database("nonsense://x")
    assert database_url("postgres://h/n") == "postgresql+psycopg://h/n"
