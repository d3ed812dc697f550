"""The demo: a small run on phantoms with the model in the package, made once, and everything of the app shown on it.

In: a folder. Out: Settings that show its corpus, its run and its model.

    serve(demo_settings(Path("runs/app-demo")))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from radvqa.app.settings import Settings

METHODS = ["raw", "rollout", "relevancy", "gradcam", "lrp", "occlusion", "random"]
NUM_IMAGES = 160
NUM_QUEUED = 60


def demo_settings(folder: Path, **more: Any) -> Settings:
    """Make the run unless it is whole already (a minute on two cores), queue some questions, and say what to show."""
    from radvqa.pipeline import run
    from radvqa.recipe import validate

    run(
        validate(
            {
                "name": "app-demo",
                "out": str(folder),
                "data": {"phantom": {"dataset": "phantom", "options": {"num_images": NUM_IMAGES, "seed": 7}}},
                "evaluate": {"data": [{"corpus": "phantom", "split": "test"}], "batch_size": 64},
                "explain": {"methods": METHODS, "num_right": 8, "num_wrong": 6},
                "report": {"title": "radvqa on phantoms"},
            }
        )
    )
    settings = Settings(
        corpora=(folder / "corpora" / "phantom",),
        runs=(folder,),
        database=str(folder / "app.sqlite"),
        model="radvqa-tiny",
        **more,
    )
    _queue(settings)
    return settings


def _queue(settings: Settings) -> None:
    """Some questions, each for two reviewers; those that are queued already are not queued again."""
    from radvqa.app.database import database_url, open_database
    from radvqa.curate.review import draw
    from radvqa.review import ReviewStore, corpus_key
    from radvqa.sample import Corpus

    open_database(settings.database).dispose()
    corpus, store = Corpus(settings.corpora[0]), ReviewStore(database_url(settings.database))
    store.enqueue(corpus_key(corpus), draw(corpus.table, NUM_QUEUED, how="stratified", by="topic"), wanted=2)
    store.close()
