"""The command line starts fast, and every failure ends with one message and its exit code."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from radvqa import cli, commands, pipeline
from radvqa.errors import InputError
from radvqa.sample import Corpus
from standins import write_corpus, write_recipe


def invoke(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from radvqa.cli import app; app(['--help'], standalone_mode=False);"
        "print(sorted({m.split('.')[0] for m in sys.modules}"
        " & {'torch', 'transformers', 'peft', 'polars', 'pyarrow', 'numpy', 'pydantic', 'matplotlib', 'scipy'}))"
    )
    before = os.times()
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = os.times()
    assert found.stdout.strip().endswith("[]")
    assert after.children_user - before.children_user < 2  # processor seconds: a busy machine is no failure


@pytest.mark.parametrize(
    "name", ["run", "train", "import", "card", "predict", "score", "ask", "explain", "trust", "report"]
)
def test_every_verb_has_help(name):
    found = invoke(name, "-h")
    assert found.exit_code == 0 and f"radvqa {name}" in found.output.replace("root", "radvqa")


def test_version_and_no_arguments():
    assert invoke("--version").output.startswith("radvqa 0.")
    assert "Commands" in invoke().output


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("no such thing", key="stages.x"), 2, "error: {file}, stages.x: no such thing\n"),
        (InputError("not readable", file="a.png"), 2, "error: a.png: not readable\n"),
        (KeyboardInterrupt(), 130, "\nstopped; the same command goes on from here\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/x/a"),
            1,
            "error: the disk is full while writing runs/x/a",
        ),
        (RuntimeError("IoError(Os { code: 28, message: 'No space left on device' })"), 1, "error: the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 1, "error: [Errno 13] Permission denied: 'runs'"),
    ],
)
def test_a_failure_is_one_message_and_a_code(tmp_path, monkeypatch, error, code, message):
    def fail(*_, **__):
        raise error

    file = write_recipe(tmp_path)
    monkeypatch.setattr(pipeline, "run", fail)
    found = invoke("run", file)
    assert found.exit_code == code
    assert found.stderr.startswith(message.format(file=file)) and "Traceback" not in found.stderr


def test_a_full_disk_is_known_through_what_wraps_it():
    wrapped = InputError("the corpus cannot be written")
    wrapped.__cause__ = OSError(errno.EDQUOT, "Disk quota exceeded")
    assert commands.is_disk_full(wrapped)
    assert not commands.is_disk_full(InputError("x")) and not commands.is_disk_full(None)


def test_our_own_mistakes_keep_their_traceback(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("ours")

    monkeypatch.setattr(pipeline, "run", fail)
    assert isinstance(invoke("run", write_recipe(tmp_path)).exception, AssertionError)


def test_debug_shows_the_traceback(tmp_path):
    command = [sys.executable, "-m", "radvqa.cli", "run", str(tmp_path / "nowhere.yaml")]
    plain = subprocess.run(command, capture_output=True, text=True)
    assert plain.returncode == 2 and plain.stderr.count("\n") == 1 and "nowhere.yaml" in plain.stderr
    told = subprocess.run([*command, "--debug"], capture_output=True, text=True)
    assert told.returncode != 0 and "Traceback" in told.stderr and "InputError" in told.stderr


def test_a_wrong_override_names_the_file_and_key(tmp_path):
    file = write_recipe(tmp_path)
    found = invoke("run", file, "stages.stage2.lrr=3")
    assert found.exit_code == 2 and found.stderr.startswith(f"error: {file}, stages.stage2.lrr: there is no such key")
    found = invoke("run", file, "evaluate.data.toy.where={kind: open}")
    assert found.exit_code == 2 and f"error: {file}, evaluate.data.0: corpus toy has no questions" in found.stderr


def test_ctrl_c_ends_with_130_and_nothing_under_a_final_name(tmp_path):
    """A real SIGINT in the middle of training, to the command line itself."""
    file = write_recipe(tmp_path)
    code = (
        "import sys, time\nfrom radvqa import cli, steps\nfrom standins import STAND_INS\n"
        "def train(task):\n    print('training', flush=True)\n    time.sleep(600)\n"
        "steps.STEPS.update({**STAND_INS, 'train': train})\nsys.argv = ['radvqa', 'run', sys.argv[1]]\ncli.main()"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    }
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as run:
        assert run.stdout.readline() == "training\n"
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=120)  # a busy machine may take its time
    assert run.returncode == 130
    assert "stopped" in said and "Traceback" not in said
    assert (tmp_path / "run" / "corpora" / "toy").is_dir() and not (tmp_path / "run" / "stage1").exists()


def test_import_and_card(tmp_path):
    Image.new("RGB", (20, 20), (9, 9, 9)).save(tmp_path / "a.png")
    (tmp_path / "own.csv").write_text("image,question,answer\na.png,Is it CT?,yes\na.png,Which side?,left\n")
    out = tmp_path / "corpus"
    found = invoke("import", "table", tmp_path / "own.csv", f"images={tmp_path}", "--out", out)
    assert found.exit_code == 0, found.output
    assert "2 questions on 1 images" in found.output and len(list(Corpus(out).samples())) == 2
    assert "closed 1" in invoke("card", out, "--out", tmp_path / "card").output
    found = invoke("import", "table", tmp_path / "own.csv", "imagess=x", "--out", tmp_path / "other")
    assert found.exit_code == 2 and "imagess" in found.stderr and not (tmp_path / "other").exists()


def test_import_needs_no_path_where_the_data_set_needs_none(tmp_path):
    found = invoke("import", "phantom", "num_images=2", "num_workers=0", "--out", tmp_path / "p")
    assert found.exit_code == 0, found.output
    assert Corpus(tmp_path / "p").card["num_images"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("card", "nowhere"), "nowhere: not a corpus folder"),
        (("predict", "{corpus}", "--split", "tset", "--out", "x"), "--split: found 'tset'; did you mean test?"),
        (("score", "nowhere", "--out", "x"), "no such predictions"),
        (("report", "nowhere"), "nowhere: no such run folder"),
        (("import", "vqa_radd"), "unknown data set 'vqa_radd'"),
    ],
)
def test_single_rooms_tell_what_is_wrong(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    corpus = write_corpus(tmp_path / "corpus")
    found = invoke(*(argument.format(corpus=corpus) for argument in arguments))
    assert found.exit_code == 2 and message in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_predict_and_score_alone(tmp_path):
    from tiny import save_tiny

    model, corpus = tmp_path / "model", write_corpus(tmp_path / "corpus")
    save_tiny(model)
    for control in ("none", "blank"):
        found = invoke(
            *("predict", corpus, "--model", model, "--control", control, "--out", tmp_path / control),
            *("--max-new-tokens", 3, "--split", "train", "--max-samples", 5),
        )
        assert found.exit_code == 0 and "5 answers" in found.output, found.output
    found = invoke("score", tmp_path / "none", tmp_path / "blank", "--out", tmp_path / "s", "--corpus", corpus)
    assert found.exit_code == 0 and "majority answer" in found.output, found.output
    metrics = json.loads((tmp_path / "s" / "scores.json").read_text())["metrics"]
    assert {row["control"] for row in metrics} == {"none", "blank"}
