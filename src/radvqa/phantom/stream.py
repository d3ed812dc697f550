"""Many phantoms, in order, from several processes.

for picture in phantoms(0, range(1000), num_workers=2): ...
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from radvqa.phantom.scene import Phantom, phantom

Result = TypeVar("Result")


def phantoms(seed: int, indices: Iterable[int], *, num_workers: int = 0, size_px: int = 192) -> Iterator[Phantom]:
    """The phantoms of these indices in their order. `num_workers` 0 makes them in this process.

    Workers are spawned, so a script that asks for them needs the usual `if __name__ == "__main__":`.
    """
    yield from ordered(partial(_one, seed, size_px), indices, num_workers=num_workers)


def _one(seed: int, size_px: int, index: int) -> Phantom:
    return phantom(seed, index, size_px=size_px)


def ordered(make: Callable[[int], Result], indices: Iterable[int], *, num_workers: int) -> Iterator[Result]:
    """`make(index)` for every index, in order; the pool ends with the iterator, also on Ctrl-C or an early stop."""
    if num_workers <= 0:
        yield from map(make, indices)
        return
    pool = multiprocessing.get_context("spawn").Pool(num_workers, initializer=_quiet)
    try:
        yield from pool.imap(make, indices, chunksize=8)
    finally:
        pool.terminate()
        pool.join()


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it ends the pool
