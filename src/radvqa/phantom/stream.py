"""Many phantoms, in order, from several processes.

    for picture in phantoms(0, range(1000), num_workers=2): ...

In: a seed and indices. Out: Phantoms in that order, the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from joblib import Parallel, delayed, parallel_config

from radvqa.phantom.scene import Phantom, phantom

Result = TypeVar("Result")


def phantoms(seed: int, indices: Iterable[int], *, num_workers: int = 0, size_px: int = 192) -> Iterator[Phantom]:
    """The phantoms of these indices in their order. `num_workers` 0 makes them in this process."""
    yield from ordered(partial(_one, seed, size_px), indices, num_workers=num_workers)


def _one(seed: int, size_px: int, index: int) -> Phantom:
    return phantom(seed, index, size_px=size_px)


def ordered(make: Callable[[int], Result], indices: Iterable[int], *, num_workers: int) -> Iterator[Result]:
    """`make(index)` for every index, in order; the workers end with the iterator, also on Ctrl-C or an early stop."""
    if num_workers <= 0:
        yield from map(make, indices)
        return
    one_thread = parallel_config("loky", inner_max_num_threads=1)  # with more, linear algebra is three times slower
    with (
        one_thread,
        Parallel(num_workers, return_as="generator", batch_size=8, pre_dispatch="4*n_jobs", max_nbytes=None) as workers,
    ):
        yield from workers(delayed(make)(index) for index in indices)
