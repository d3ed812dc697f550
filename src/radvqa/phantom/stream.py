"""Many phantoms, in order, from several processes.

for picture in phantoms(0, range(1000), num_workers=2): ...
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
    with _one_thread_each():
        pool = multiprocessing.get_context("spawn").Pool(num_workers, initializer=_quiet)
    try:
        yield from pool.imap(make, indices, chunksize=8)
    finally:
        pool.terminate()
        pool.join()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started here do their linear algebra in one thread: with more they are three times slower."""
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it ends the pool
