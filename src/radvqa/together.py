"""Several processes of one run, as torchrun or `accelerate launch` starts them: the first walks the recipe, the others
train every stage with it and wait meanwhile.

In: RANK and WORLD_SIZE in the environment. Out: stages that all processes train; all else is done, and said, once.

    torchrun --nproc-per-node 2 -m radvqa.cli train recipes/demo.yaml

With GPUs they speak through NCCL, a GPU each, without through gloo.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radvqa.task import Task

PATIENCE = timedelta(days=7)
"""How long the others wait for the first, which may have to import a large data set."""
_training = False


def num_processes() -> int:
    """How many processes this run has, from the environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def follows() -> bool:
    """Whether this process is another than the first."""
    return num_processes() > 1 and int(os.environ.get("RANK", "0")) > 0


def join() -> None:
    """Meet the other processes, and take this one's GPU. Nothing happens the second time."""
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


@contextmanager
def leading() -> Iterator[None]:
    """What the first process does of a run; at its end the others are let go."""
    if num_processes() == 1:
        yield
        return
    join()
    try:
        yield
    finally:
        if not _training:  # a stage that failed here has failed, or hangs, there: whoever started them ends them
            _tell(None)
            _part()


@contextmanager
def trained_by_all(task: Task) -> Iterator[None]:
    """While a stage trains: the others are told which one, and where it is written."""
    global _training
    if num_processes() > 1:
        keys = {
            "recipe": task.recipe.model_dump(mode="json"),
            "run": str(task.run),
            "name": task.name,
            "folder": str(task.folder),
        }
        _tell(json.dumps(keys))
    _training = True
    yield
    _training = False


def follow() -> None:
    """What every other process does: train the stages that the first one trains, until it is done."""
    from radvqa.recipe import validate
    from radvqa.steps import train_along
    from radvqa.task import Task

    join()
    while (told := _tell(None)) is not None:
        keys = json.loads(told)
        with TemporaryDirectory(prefix="radvqa-") as scratch:
            recipe, name = validate(keys["recipe"]), keys["name"]
            task = Task(recipe, Path(keys["run"]), name, (name,), Path(scratch), lambda *_: None)
            train_along(task, Path(keys["folder"]))
    _part()


def agreed(said: bool) -> bool:
    """The first process's word, in every process."""
    return _tell("yes" if said else None) is not None


def _tell(text: str | None) -> str | None:
    """The first process's text, in every process."""
    import torch

    held: list[Any] = [text]
    torch.distributed.broadcast_object_list(held, src=0)
    return held[0]


def _part() -> None:
    """Leave together: a process whose connections break while it ends is aborted."""
    import torch

    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
