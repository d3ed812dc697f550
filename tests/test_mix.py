"""Mixtures hold the shares they were asked for, use samples evenly, and follow from the seed alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from radvqa.mix import Part, capped, counts, mixture


def test_sources_without_share_are_taken_whole_and_once():
    index = mixture([Part(5), Part(3)], seed=0)
    assert sorted(map(tuple, index.tolist())) == [(0, i) for i in range(5)] + [(1, i) for i in range(3)]
    assert index[:, 0].tolist() != sorted(index[:, 0].tolist())  # mixed, not one after the other


def test_share_counts_by_hand():
    # 80 taken whole are 1 - 0.2 = 0.8 of the mixture: it has 80 / 0.8 = 100 places, 20 of them the replay's
    assert counts([Part(80), Part(1000, share=0.2)]) == [80, 20]
    # two shares beside it: 70 / (1 - 0.1 - 0.2) = 100
    assert counts([Part(70), Part(9, share=0.1), Part(50, share=0.2)]) == [70, 10, 20]
    # every source with a share: as many places as samples, 30 + 10 = 40
    assert counts([Part(30, share=0.5), Part(10, share=0.5)]) == [20, 20]
    # the cap comes first: 80 becomes 40, so 40 / 0.8 = 50
    assert counts([Part(80, max_samples=40), Part(1000, share=0.2)]) == [40, 10]


def test_a_small_source_goes_round_evenly():
    index = mixture([Part(90), Part(4, share=0.1)], seed=1)  # 100 places, 10 from 4 samples: 2 or 3 times each
    times = np.bincount(index[index[:, 0] == 1, 1], minlength=4)
    assert times.sum() == 10 and set(times.tolist()) == {2, 3}


def test_a_cap_draws_the_same_few_every_time_round():
    index = mixture([Part(90), Part(50, share=0.1, max_samples=3)], seed=1)
    used = set(index[index[:, 0] == 1, 1].tolist())
    assert len(used) == 3


def test_the_seed_decides():
    parts = [Part(50), Part(50, share=0.3)]
    assert (mixture(parts, 3) == mixture(parts, 3)).all()
    assert (mixture(parts, 3) != mixture(parts, 4)).any()


def test_a_cap_keeps_the_order_and_draws_without_bias_to_the_first():
    rows = capped(100, 10, seed=0)
    assert len(rows) == 10 == len(set(rows.tolist())) and (np.diff(rows) > 0).all() and rows.max() > 50
    assert capped(5, None, 0).tolist() == [0, 1, 2, 3, 4] == capped(5, 9, 0).tolist()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.none() | st.floats(0.01, 0.2)), min_size=1, max_size=4),
    st.integers(0, 5),
)
def test_every_draw_exists_and_counts_hold(given_parts, seed):
    parts = [Part(size, share) for size, share in given_parts]
    index = mixture(parts, seed)
    expected = counts(parts)
    for place, part in enumerate(parts):
        rows = index[index[:, 0] == place, 1]
        assert len(rows) == expected[place]
        assert ((rows >= 0) & (rows < part.size)).all()
        times = np.bincount(rows, minlength=part.size)
        assert times.max() - times.min() <= 1
