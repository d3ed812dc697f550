"""Measurements anyone can repeat: `bench`."""

from __future__ import annotations

import json
from typing import Annotated, Any

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
    everything: Annotated[
        bool, typer.Option("--all", help="1 to 22 questions, 256 and 1,024 tokens, memory, losses; half an hour.")
    ] = False,
) -> None:
    """How fast training is against transformers' Trainer + peft, on a small PaliGemma with random weights."""
    if room != "train":
        raise InputError(f"found {room!r}", key="ROOM", fix="use train")
    if steps < 2 or questions < 1 or image_px < 28 or image_px % 14:
        raise InputError("steps must be 2 or more, image-px a multiple of 14", key="bench")
    from radvqa.bench_model import Sizes
    from radvqa.bench_train import compare, machine, report

    found: dict[str, Any] = {}
    if everything:
        report(found.__setitem__, steps=steps)
    else:
        found["case"] = compare(Sizes(questions, image_px), steps)
    if as_json:
        typer.echo(json.dumps(machine() | (found if everything else found["case"]), indent=2))
        return
    for title, one in found.items():
        typer.echo(title if everything else f"{questions} questions an image, {one['image_tokens']} image tokens")
        for name in one.get("ratio", one.get("share")):
            typer.echo(f"  {name:12} {_said(one, name)}")


def _said(one: dict[str, Any], name: str) -> str:
    if "share" in one:
        return f"{one['bytes'][name] / 1e9:8.2f} GB  {one['share'][name]:6.1%}"
    return f"{one['questions_per_s'][name]:8.2f} questions/s  {one['ratio'][name]:6.2f} x"
