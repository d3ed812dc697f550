"""The trust room: which answers of a model will be wrong, how sure that is, and where to keep the model away from.

In: an arm's held-out answers and its model. Out: indicators of every answer, a calibrated failure risk, abstention with
a guarantee, and the groups that fail more than the rest.

    trust_run(model=model, rows=rows, samples=samples, corpora=corpora, settings=Trust(), seed=0, folder=out)

What needs the model is in forward, distance and repeats.py; everything else (risk, quality, abstain, slices) is arithmetic
on the table that measure makes of them.
"""

from __future__ import annotations

from typing import Any

from radvqa.trust.indicators import INDICATORS, Indicator


def __getattr__(name: str) -> Any:
    """trust_run is read when it is first asked for: it needs torch, which the page does not."""
    if name == "trust_run":
        from radvqa.trust.run import trust_run

        return trust_run
    raise AttributeError(name)


__all__ = ["INDICATORS", "Indicator", "trust_run"]
