"""What a recipe will cost, before anything is loaded: parameters, tokens, operations, memory and time of each stage.

In: a Recipe. Out: a StagePlan for each stage; weights are never read, only the model's configuration.

    for plan in plans(load("recipes/demo.yaml")): print(plan.lines())

Assumed, and said in the output: TEXT_TOKENS a question where its corpus is not there yet, SPEED of what large matrix
products reach on this device, and memory as `cost.step_bytes` counts it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import AutoConfig

from radvqa.cost import matmul_ceiling, step_bytes, step_flops
from radvqa.errors import InputError
from radvqa.families import family_of
from radvqa.features import is_frozen
from radvqa.model import VQAModel, adapt, checkpoint_path, dtype_of, num_trainable, tower_of
from radvqa.recipe import Recipe
from radvqa.recipe_sections import Stage
from radvqa.sharding import planned

TEXT_TOKENS, ANSWER_TOKENS = 24, 4
"""Of a question with its answer, and supervised among them (medical questions with PaliGemma's tokenizer)."""
SPEED = 0.35
"""Share of the matmul ceiling that a step is taken to reach."""
SHARES = (2, 4, 8)
"""Numbers of processes that the plan of a sharded stage names."""


@dataclass(frozen=True)
class StagePlan:
    """The cost of one stage."""

    stage: str
    layout: str
    parameters: dict[str, int]
    trainable: dict[str, int]
    questions: int
    """In a step."""
    tokens: int
    """In a step, image tokens included."""
    steps: int | None
    """None: given in epochs, and the corpora are not imported yet."""
    flop: float
    """Operations of a step."""
    weight_bytes: float
    state_bytes: float
    """Gradients and optimizer."""
    activation_bytes: float
    """Kept by a micro-batch for its backward pass."""
    step_s: float
    sharded_bytes: dict[int, float]
    """Number of processes that weights are shared out over -> memory of each; empty: they are not."""

    def lines(self) -> list[str]:
        """As text."""
        named = "  ".join(f"{tower} {number:,}" for tower, number in self.parameters.items())
        trained = "  ".join(f"{tower} {number:,}" for tower, number in self.trainable.items())
        memory = self.weight_bytes + self.state_bytes + self.activation_bytes
        each = ", ".join(f"{held / 1e9:.2f} GB in each of {num}" for num, held in self.sharded_bytes.items())
        steps = "steps follow from the corpora, which are not imported yet"
        if self.steps is not None:
            steps = f"{self.steps:,} steps, about {_duration(self.steps * self.step_s)}"
        return [
            f"{self.stage}: layout {self.layout}, {steps}",
            f"  parameters  {sum(self.parameters.values()):,} ({named})",
            f"  trainable   {sum(self.trainable.values()):,} ({trained})",
            f"  a step      {self.questions:,} questions, {self.tokens:,} tokens, {self.flop / 1e12:.3g} TFLOP, "
            f"about {self.step_s:.2g} s",
            f"  memory      about {memory / 1e9:.2f} GB: weights {self.weight_bytes / 1e9:.2f}, gradients and optimizer "
            f"{self.state_bytes / 1e9:.2f}, a micro-batch {self.activation_bytes / 1e9:.2f}",
            *([f"  sharded     about {each} processes"] if self.sharded_bytes else []),
        ]


def plans(recipe: Recipe) -> Iterator[StagePlan]:
    """One plan a stage. Raises InputError where the model's configuration cannot be read."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype_of(recipe.model.dtype, device)
    ceiling = matmul_ceiling(device.type, dtype)
    for stage in recipe.stages:
        model = empty_model(recipe.model.name)
        parameters = {"language": 0, "vision": 0, "projector": 0}
        for name, parameter in model.network.named_parameters():
            parameters[tower_of(name)] += parameter.numel()
        yield _plan(
            stage, adapt(model, stage.adapt), parameters, _num_questions(recipe, stage), dtype.itemsize, ceiling
        )


def empty_model(name: str) -> VQAModel:
    """The network of a checkpoint without its weights (on the meta device): to be counted, not to be run."""
    path = checkpoint_path(name)
    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"its configuration cannot be read: {str(error).splitlines()[0]}", file=name, key="model.name"
        ) from error
    family = family_of(config, name)
    with torch.device("meta"):
        network = family.network_class(config)
    return VQAModel(name, network, family, None, None, None, layout=family.layout)  # type: ignore[arg-type]


def _num_questions(recipe: Recipe, stage: Stage) -> int | None:
    """Questions of one epoch; None where a corpus is not imported yet."""
    from radvqa.material import samples_of
    from radvqa.mix import Part, counts

    corpora = [recipe.out / "corpora" / source.corpus for source in stage.data]
    if not all((folder / "questions.parquet").is_file() for folder in corpora):
        return None
    sizes = [len(samples_of(recipe.out, source, "data")[1]) for source in stage.data]
    return sum(counts([Part(size, s.share, s.max_samples) for size, s in zip(sizes, stage.data)]))


def _plan(
    stage: Stage, model: VQAModel, parameters: dict[str, int], epoch: int | None, size: int, ceiling: float
) -> StagePlan:
    questions, num = stage.batch_size * stage.accumulation, model.family.num_image_tokens
    images = math.ceil(questions / stage.questions_per_image)
    by_image = model.layout == "image-first"
    rows = images if by_image else questions
    length = num + TEXT_TOKENS * (min(stage.questions_per_image, questions) if by_image else 1)
    steps = stage.steps
    if steps is None and epoch is not None:
        steps = math.ceil((stage.epochs or 1) * math.ceil(epoch / questions))
    part = stage.batch_size / questions
    flop = step_flops(model.family, stage.adapt, images, rows, length, questions * ANSWER_TOKENS)
    held = step_bytes(
        model.family,
        stage.adapt,
        math.ceil(images * part),
        math.ceil(rows * part),
        length,
        stage.batch_size * ANSWER_TOKENS,
        size,
        stage.gradient_checkpointing,
    )
    trainable = num_trainable(model)
    return StagePlan(
        stage=stage.name,
        layout=model.layout,
        parameters=parameters,
        trainable=trainable,
        questions=questions,
        tokens=rows * length,
        steps=steps,
        flop=flop,
        weight_bytes=float(sum(parameters.values()) * size),
        state_bytes=float(sum(trainable.values()) * 3 * size),
        activation_bytes=held,
        step_s=flop / (SPEED * ceiling),
        sharded_bytes={num: _sharded_bytes(model, stage, num, size) + held for num in SHARES if stage.shard},
    )


def _sharded_bytes(model: VQAModel, stage: Stage, num: int, size: int) -> float:
    """Weights, gradients and moments in one of `num` processes, with what is whole during a micro-batch."""
    kept, besides = planned(model, not is_frozen(model, stage.adapt, stage), num)
    if stage.adapt.method == "full":  # gradients and moments lie where the weights do, and arise where these are whole
        return (4 * kept + 2 * besides) * size
    return (kept + besides + 3 * sum(num_trainable(model).values())) * size


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
