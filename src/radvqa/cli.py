"""The command line `radvqa`: one short verb a room. The verbs themselves are in commands/, a file a room.

    radvqa run recipes/demo.yaml adapt.rank=8 stages.stage2.lr=1e-4

In: what was typed. Out: what the room does, and the exit code that commands/__init__.py explains.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module

from radvqa.commands import app

ROOMS = (
    "runs",
    "data",
    "curate",
    "answers",
    "scores",
    "judge",
    "consistency",
    "maps",
    "trust",
    "page",
    "tables",
    "scaling",
    "bench",
    "app",
)
"""Files of commands/, in the order in which --help lists their verbs."""
for room in ROOMS:
    import_module(f"radvqa.commands.{room}")


def main() -> None:
    """The entry point; --debug may stand anywhere."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|transformers|peft)\.")
    warnings.filterwarnings("ignore", message=".*but not used", module=r"joblib\.")  # an import that stops early
    arguments = sys.argv[1:]
    if "--debug" in arguments:
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    app(arguments)


if __name__ == "__main__":
    main()
