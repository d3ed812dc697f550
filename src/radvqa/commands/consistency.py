"""Does the model say the same when asked again: `consistency`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from radvqa.commands import AdapterPath, BaseUrl, CallsFile, Concurrency, ModelName, verb
from radvqa.commands.answers import checked_engine, sources_of


@verb("consistency")
def consistency(
    corpora: Annotated[list[Path], typer.Argument(metavar="CORPUS", help="Corpus folders.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write into.")],
    model: ModelName = "radvqa-tiny",
    adapter: AdapterPath = None,
    runs: Annotated[int, typer.Option("--runs", help="How often each question is asked.")] = 5,
    temperature: Annotated[float, typer.Option("--temperature", help="How freely; above 0.")] = 0.7,
    keep_order: Annotated[
        bool, typer.Option("--keep-order", help="Leave options in their order in every run.")
    ] = False,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "test",
    arm: Annotated[str | None, typer.Option("--arm", help="What the answers are reported under.")] = None,
    max_samples: Annotated[int | None, typer.Option("--max-samples", help="At most so many a corpus.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Prompts read at once.")] = 16,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Longest answer.")] = 32,
    engine: Annotated[str, typer.Option("--engine", help="local, or openai: any OpenAI-compatible server.")] = "local",
    base_url: BaseUrl = None,
    calls: CallsFile = None,
    concurrency: Concurrency = 8,
    draws: Annotated[int, typer.Option("--draws", help="Bootstrap draws behind each interval.")] = 2000,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Ask every question several times and say how often the answer stays the same; linked questions likewise."""
    from radvqa.asked import FILE, Repeats
    from radvqa.score.consistency import write_consistency
    from radvqa.screen import Screen
    from radvqa.stage import path_hash, writing

    settings = Repeats(runs, temperature, not keep_order, seed)
    served = checked_engine(engine, base_url, adapter) == "openai"
    arm = arm or (model.rpartition("/")[2] if served else "adapted" if adapter else "base")
    sources = sources_of(corpora, split, max_samples, seed)
    config = {"model": model, "arm": arm, "split": split, "max_samples": max_samples, "repeats": settings}
    config |= {"engine": engine, "base_url": base_url, "max_new_tokens": max_new_tokens, "draws": draws, "seed": seed}
    inputs = {str(folder): path_hash(folder, content=True) for folder in (*corpora, *([adapter] if adapter else []))}
    with Screen().doing(arm) as tell, writing(out, config, inputs) as partial:
        more: dict[str, Any] = {"sources": sources, "arm": arm, "folder": partial, "settings": settings}
        more |= {"max_new_tokens": max_new_tokens, "progress": lambda done, total: tell(done, total, "questions")}
        if served:
            from radvqa.calls import Calls
            from radvqa.served import repeat_served

            store = calls or out.parent / "calls.sqlite"
            with Calls(store, str(base_url), model, concurrency=concurrency) as client:
                repeat_served(client, **more)
        else:
            from radvqa.model import load
            from radvqa.repeats import repeat_arm

            repeat_arm(load(model, adapter), batch_size=batch_size, **more)
        found = write_consistency(partial, partial / FILE, draws, seed)
    _print(found, out)


def _print(found: dict[str, Any], out: Path) -> None:
    for row in found["means"]:
        if row["slice"] == {} and row["value"] is not None:
            bounds = "" if row["low"] is None else f" ({row['low']:.3f}-{row['high']:.3f})"
            unscored = f", {row['num_unscored']} unscored" if row["num_unscored"] else ""
            typer.echo(f"{found['about'][row['measure']]:<48} {row['value']:.3f}{bounds}, n = {row['n']}{unscored}")
    for run in found["runs"]:
        if run["sd"] is not None:
            typer.echo(f"accuracy over {run['num_runs']} runs: {run['mean']:.3f} ± {run['sd']:.3f}")
    for row in found["paraphrases"]:
        same = row["agreement"]
        if same["value"] is not None:
            bounds = "" if same["low"] is None else f" ({same['low']:.3f}-{same['high']:.3f})"
            typer.echo(
                f"pairs of wordings answered alike: {same['value']:.3f}{bounds}, n = {same['n']}; "
                f"both right {row['both_right']}, one {row['one_right']}, none {row['both_wrong']}"
            )
    typer.echo(f"all of it: {out / 'consistency.json'}")
