"""A step appears whole or not at all, and is run again only when something it depends on has changed."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from radvqa import stage
from radvqa.errors import InputError


@dataclass
class Settings:
    rank: int
    path: Path


def test_fingerprint_depends_on_every_part_and_not_on_key_order():
    one = stage.fingerprint({"a": 1, "b": [1, 2]}, {"x": "h"})
    assert one == stage.fingerprint({"b": (1, 2), "a": 1}, {"x": "h"})
    assert len(one) == 32 and set(one) <= set("0123456789abcdef")
    others = [
        stage.fingerprint({"a": 1, "b": [2, 1]}, {"x": "h"}),
        stage.fingerprint({"a": 1, "b": [1, 2]}, {"x": "g"}),
    ]
    assert len({one, *others}) == 3


def test_fingerprint_takes_dataclasses_paths_and_sets_and_refuses_the_rest():
    assert stage.fingerprint(Settings(12, Path("x"))) == stage.fingerprint({"rank": 12, "path": "x"})
    assert stage.fingerprint({"b", "a"}) == stage.fingerprint(["a", "b"])
    with pytest.raises(TypeError, match="object"):
        stage.fingerprint(object())


def test_fingerprint_changes_with_the_version(monkeypatch):
    before = stage.fingerprint(1)
    monkeypatch.setattr(stage, "versions", lambda: {"radvqa": "99"})
    assert stage.fingerprint(1) != before


def test_a_finished_step_carries_its_record(tmp_path):
    folder = tmp_path / "scores"
    with stage.writing(folder, {"num_draws": 7, "seed": 3}, {"predictions": "abc"}) as partial:
        assert partial.parent == tmp_path and not folder.exists()
        (partial / "scores.json").write_text("{}")
    found = json.loads((folder / "stage.json").read_text())
    assert found["config"] == {"num_draws": 7, "seed": 3} and found["seed"] == 3
    assert found["inputs"] == {"predictions": "abc"}
    assert found["outputs"]["scores.json"]["bytes"] == 2
    assert {"python", "radvqa", "torch", "transformers", "peft", "numpy"} == set(found["versions"])
    assert found["wall_s"] >= 0 and found["peak_rss_bytes"] > 1e6 and found["finished"].endswith("+00:00")
    assert [p.name for p in tmp_path.iterdir()] == ["scores"]
    assert stage.is_done(folder, stage.fingerprint({"num_draws": 7, "seed": 3}, {"predictions": "abc"}))


def test_done_means_same_fingerprint_and_all_files_whole(tmp_path):
    folder = tmp_path / "a"
    mark = stage.fingerprint({}, {})
    assert not stage.is_done(folder, mark)
    with stage.writing(folder, {}, {}) as partial:
        (partial / "x.txt").write_text("12345")
    assert stage.is_done(folder, mark) and not stage.is_done(folder, stage.fingerprint({"other": 1}, {}))
    (folder / "x.txt").write_text("1")
    assert not stage.is_done(folder, mark)
    (folder / "stage.json").write_text("{ cut")
    assert not stage.is_done(folder, mark)


def test_output_hash_is_of_content_only(tmp_path):
    for name, text in (("a", "same"), ("b", "same"), ("c", "else")):
        with stage.writing(tmp_path / name, {"name": name}, {}) as partial:
            (partial / "x.txt").write_text(text)
    hashes = [stage.output_hash(tmp_path / name) for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_step_leaves_nothing_and_the_earlier_result_stays(tmp_path, error):
    folder = tmp_path / "a"
    with stage.writing(folder, {"v": 1}, {}) as partial:
        (partial / "x.txt").write_text("old")
    with pytest.raises(type(error)), stage.writing(folder, {"v": 2}, {}) as partial:
        (partial / "x.txt").write_text("new")
        raise error
    assert (folder / "x.txt").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_named_where_the_writer_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(stage.shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(OSError, match="No space left on device") as error, stage.writing(tmp_path / "a", {}, {}):
        raise RuntimeError("File out of specification: transport error")
    assert isinstance(error.value.__cause__, RuntimeError) and not list(tmp_path.iterdir())
    with pytest.raises(InputError), stage.writing(tmp_path / "a", {}, {}):
        raise InputError("the user's mistake stays what it is")


def test_a_resumable_step_goes_on_only_under_the_same_fingerprint(tmp_path):
    folder = tmp_path / "stage1"

    def attempt(config, fail):
        with stage.writing(folder, config, {}, resume=True) as partial:
            seen = (partial / "count").read_text() if (partial / "count").exists() else ""
            (partial / "count").write_text(seen + "+")
            if fail:
                raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            attempt({"lr": 1}, fail=True)
    assert (tmp_path / "stage1.partial" / "count").read_text() == "++" and not folder.exists()
    attempt({"lr": 1}, fail=False)
    assert (folder / "count").read_text() == "+++" and stage.record(folder)["resumed"] is True
    with pytest.raises(KeyboardInterrupt):
        attempt({"lr": 1}, fail=True)
    attempt({"lr": 2}, fail=False)
    assert (folder / "count").read_text() == "+" and stage.record(folder)["resumed"] is False


def test_a_step_whose_body_replaces_the_partial_folder_still_finishes(tmp_path):
    """A corpus is written to its own temporary name and renamed onto the folder it was given."""
    with stage.writing(tmp_path / "c", {}, {}) as partial:
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "q.txt").write_text("q")
        (partial / stage.MARKER).unlink()
        partial.rmdir()
        (tmp_path / "own").rename(partial)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["q.txt", "stage.json"]


def test_peak_memory_is_of_the_block_and_blocks_nest():
    with stage.measuring() as outer:
        with stage.measuring() as inner:
            held = bytearray(200_000_000)
            held[::4096] = b"x" * len(held[::4096])
        high = inner()["peak_rss_bytes"]
        del held
        with stage.measuring() as later:
            pass
    assert inner()["peak_rss_bytes"] == high > 200_000_000
    assert outer()["peak_rss_bytes"] >= high
    assert later()["peak_rss_bytes"] <= high


def test_path_hash_sees_a_changed_file_and_a_new_one(tmp_path):
    (tmp_path / "d").mkdir()
    file = tmp_path / "d" / "x.csv"
    file.write_text("1")
    before = stage.path_hash(tmp_path / "d"), stage.path_hash(file)
    assert (stage.path_hash(tmp_path / "d"), stage.path_hash(file)) == before
    file.write_text("22")
    assert stage.path_hash(tmp_path / "d") != before[0] and stage.path_hash(file) != before[1]
