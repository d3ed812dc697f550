"""Task: one step of a run, as its room is handed it.

In: the pipeline's plan. Out: what a step function needs: the recipe, which step, where to write, how to say how far it is.

    def score_step(task: Task) -> str: ...

The functions are in steps.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from radvqa.recipe import Recipe
from radvqa.recipe_sections import Stage

Tell = Callable[[int, int, str], None]
"""(done, total, note): how far a step is."""


@dataclass(frozen=True)
class Task:
    """One step to be done."""

    recipe: Recipe
    run: Path
    """The run's folder, where the steps before this one lie finished."""
    name: str
    """The step's folder within the run: corpora/phantom, stage1, predictions/base-none, scores ..."""
    item: tuple[str, ...]
    """What it is about: the corpus, the stage, or arm and control."""
    folder: Path
    """Where to write; it takes its final name afterwards."""
    tell: Tell
    say: Callable[[str], None] = lambda text: None
    """A remark that stays on the screen."""

    @property
    def stage(self) -> Stage:
        """The stage that `item` names."""
        return next(stage for stage in self.recipe.stages if stage.name == self.item[0])
