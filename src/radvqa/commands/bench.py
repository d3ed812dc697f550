"""Measurements anyone can repeat: `bench`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from radvqa.commands import verb
from radvqa.errors import InputError


@verb("bench")
def bench(
    room: Annotated[str, typer.Argument(help="What is measured: train.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    questions: Annotated[int, typer.Option("--questions", help="Questions an image.")] = 8,
    image_px: Annotated[int, typer.Option("--image-px", help="Picture size: 224 is 256 image tokens.")] = 224,
    steps: Annotated[int, typer.Option("--steps", help="Steps of each arm; the first is not timed.")] = 4,
) -> None:
    """How fast training is against transformers' Trainer + peft, on a small PaliGemma with random weights."""
    if room != "train":
        raise InputError(f"found {room!r}", key="ROOM", fix="use train")
    if steps < 2 or questions < 1 or image_px < 28 or image_px % 14:
        raise InputError("steps must be 2 or more, image-px a multiple of 14", key="bench")
    from radvqa.bench_train import Sizes, compare

    found = compare(Sizes(questions, image_px), steps)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for name, speed in found["questions_per_s"].items():
        typer.echo(f"{name:12} {speed:8.2f} questions/s  {found['ratio'][name]:6.2f} x")
