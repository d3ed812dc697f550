"""Pictures made by workers: the very bytes of the image processor's, whole files only, and the same weights in the end."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import SiglipImageProcessor

from radvqa import ahead
from radvqa.ahead import AheadStore, num_workers
from radvqa.errors import InputError
from radvqa.pixels import PixelFormat, PixelStore
from radvqa.sample import Corpus, CorpusWriter, Sample
from tiny import save_tiny
from training_tiny import run, sides

PROCESSOR = SiglipImageProcessor(size={"height": 28, "width": 28}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
FORM = PixelFormat.of(PROCESSOR, 28)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Pictures of many shapes and modes."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "corpus"
    with CorpusWriter(folder, {"name": "shapes"}) as writer:
        for i, (height, width) in enumerate([(40, 40), (301, 64), (64, 301), (28, 28), (7, 9), (500, 333)]):
            values = rng.integers(0, 256, (height, width) if i % 2 else (height, width, 3)).astype(np.uint8)
            about = {"kind": "open", "split": "train", "source": "x"}
            writer.add(Sample(id=str(i), question="what?", answers=("x",), **about), Image.fromarray(values))
    return Corpus(folder)


def test_what_workers_make_is_the_processors_bit_by_bit(corpus, tmp_path):
    keys = list(corpus.image_keys())
    store = AheadStore([corpus], FORM, tmp_path / "pixels", workers=2)
    store.ahead([*keys, keys[0]])
    found = store.batch(keys)
    theirs = torch.stack(
        [PROCESSOR(corpus.image(key).convert("RGB"), return_tensors="pt")["pixel_values"][0] for key in keys]
    )
    assert torch.equal(found, PixelStore([corpus], FORM).batch(keys))
    assert torch.allclose(found, theirs, atol=1e-6)
    levels = ((theirs.permute(0, 2, 3, 1) * 0.5 + 0.5) * 255).round().to(torch.uint8).numpy()
    assert np.array_equal(np.stack([store.resized(key) for key in keys]), levels)  # the same grey levels, all of them
    assert sorted(file.name for file in (tmp_path / "pixels").iterdir()) == sorted(f"{key}.npy" for key in keys)
    store.close()
    assert not (tmp_path / "pixels").exists()


def test_a_torn_file_is_made_again_and_a_broken_picture_is_said_here(corpus, tmp_path, monkeypatch):
    keys = list(corpus.image_keys())
    store = AheadStore([corpus], FORM, tmp_path / "pixels", workers=1)
    (tmp_path / "pixels" / f"{keys[0]}.npy").write_bytes(b"\x93NUMPY half")
    assert torch.equal(store.batch(keys[:1]), PixelStore([corpus], FORM).batch(keys[:1]))
    monkeypatch.setattr(ahead, "FREE", 2.0)  # no room: nothing is written, all is still there
    assert torch.equal(store.batch(keys[1:2]), PixelStore([corpus], FORM).batch(keys[1:2]))
    assert len(list((tmp_path / "pixels").iterdir())) == 1

    def broken(key):
        raise InputError("this picture cannot be read", row=key)

    monkeypatch.setattr(corpus, "image", broken)
    with pytest.raises(InputError, match="this picture cannot be read"):
        store.batch(keys[2:3])
    store.close()


def test_workers_change_nothing_in_what_is_learned(tmp_path):
    base, sources = save_tiny(tmp_path / "base"), sides(tmp_path / "corpus")
    told = {"steps": 5, "augment": "shift", "eval_every": 2}
    run(base, sources, tmp_path / "alone", **told)
    run(base, sources, tmp_path / "helped", workers=2, **told)
    alone, helped = (load_file(tmp_path / x / "adapter" / "adapter_model.safetensors") for x in ("alone", "helped"))
    assert all(torch.equal(alone[key], helped[key]) for key in alone)
    assert not (tmp_path / "helped" / "pixels").exists()


def test_workers_are_for_gpus():
    assert num_workers(None, "cpu") == 0 and num_workers(3, "cpu") == 3 and 1 <= num_workers(None, "cuda") <= 8


def test_workers_end_when_the_run_is_killed(corpus, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from radvqa.ahead import AheadStore; from radvqa.sample import Corpus\n"
        "from radvqa.pixels import PixelFormat\n"
        "if __name__ == '__main__':\n"
        f"    corpus = Corpus(Path({str(corpus.folder)!r})); form = PixelFormat(28, (.5,)*3, (.5,)*3, 2)\n"
        f"    store = AheadStore([corpus], form, Path({str(tmp_path / 'pixels')!r}), 2); keys = list(corpus.image_keys())\n"
        "    store.ahead(keys); store.batch(keys); print('made', flush=True); time.sleep(600)\n"
    )
    (tmp_path / "run.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, str(tmp_path / "run.py")], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None and process.stdout.readline() == b"made\n"
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 120
    while any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers):
        assert time.monotonic() < end, "a worker outlives the run"
        time.sleep(0.2)
