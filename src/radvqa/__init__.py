"""radvqa: adapt a lightweight vision-language model to radiological visual question answering, with evidence.

    import radvqa
    model = radvqa.load("radvqa-tiny")
    answer = model.answer("chest.png", "Is there a pleural effusion?")

Each room has a module of its own and can be used alone; this one only opens the door.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """`radvqa.load` brings torch with it, so it comes when it is asked for."""
    if name == "load":
        from radvqa.model import load

        return load
    raise AttributeError(f"module 'radvqa' has no attribute {name!r}")
