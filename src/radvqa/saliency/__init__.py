"""Where a model looked for its answer: capture, one method per file, display, and whether a map is faithful.

In: a model, a picture, a question. Out: an Explanation: a map for every token of the answer.

    explain(model, picture, "Is there a mass?", method="rollout").save("why.png")

Every method is a function `explain(turn, target) -> Explanation` in the file that METHODS names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from radvqa.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from radvqa.model import VQAModel
    from radvqa.saliency.map import Explanation
    from radvqa.saliency.turn import Target

METHODS = {
    "raw": "raw:explain",
    "rollout": "rollout:explain",
    "flow": "flow:explain",
    "gradient": "gradient:explain",
    "relevancy": "relevancy:explain",
    "gradcam": "gradcam:explain",
    "integrated": "integrated:explain",
    "lrp": "lrp:explain",
    "occlusion": "occlusion:explain",
    "rise": "rise:explain",
    "random": "controls:random",
    "centre": "controls:centre",
    "edges": "controls:edges",
    "diagonal": "controls:diagonal",
}
"""Name -> file and function."""
CONTROLS = ("random", "centre", "edges", "diagonal")
"""Those that do not explain; a method that does no better than the first two explains nothing."""
COSTLY = ("integrated", "occlusion", "rise", "flow")
"""A hundred passes and more for a map: under random weights only the end of the cascade is looked at."""
SLOW = ("flow",)
"""Not among the methods of a study unless named: a maximum flow for each image token."""


def method_named(name: str) -> Callable[..., Explanation]:
    """The function `explain(turn, target)` of a method. Raises InputError for a name that is none."""
    if name not in METHODS:
        raise InputError(f"unknown saliency method {name!r}", key="method", fix="use one of: " + ", ".join(METHODS))
    module, function = METHODS[name].split(":")
    return getattr(import_module(f"radvqa.saliency.{module}"), function)


def explain(
    model: VQAModel,
    picture: Image.Image,
    question: str,
    answer: str | None = None,
    method: str = "rollout",
    *,
    choices: Sequence[str] = (),
    target: Target | None = None,
    drop_sinks: bool = False,
) -> Explanation:
    """Explain one answer (None: the model's own) about one RGB picture by one method.

    target: which tokens, against which other answer ("left" against "right"), by which quantity; None: the whole
    answer's logits. drop_sinks: without the image tokens that draw attention whatever is asked.
    """
    from radvqa.saliency.sinks import find_sinks, without_sinks
    from radvqa.saliency.turn import WHOLE, prepare

    function = method_named(method)
    turn = prepare(model, picture, question, answer, choices)
    found = function(turn, target or WHOLE)
    return without_sinks(found, find_sinks(turn)) if drop_sinks else found


def __getattr__(name: str) -> Any:
    """explain_run is read when it is first asked for: it needs the model, which needs this package."""
    if name == "explain_run":
        from radvqa.saliency.run import explain_run

        return explain_run
    raise AttributeError(name)


__all__ = ["CONTROLS", "METHODS", "SLOW", "explain", "explain_run", "method_named"]
