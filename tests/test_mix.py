"""Mixtures hold the shares they were asked for, use samples evenly, and follow from the seed alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radvqa.mix import Part, annealed, capped, counts, curriculum, mixture, shares_over, tempered


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


def test_shares_by_temperature_by_hand():
    assert tempered([80, 20], 1) == pytest.approx([0.8, 0.2])
    assert tempered([80, 20], 2) == pytest.approx([2 / 3, 1 / 3])  # sqrt 80 / (sqrt 80 + sqrt 20) = 2 / 3
    assert tempered([80, 20], 1e9) == pytest.approx([0.5, 0.5])


def test_a_source_may_be_gone_through_several_times():
    assert counts([Part(10, times=2.5), Part(8)]) == [25, 8]
    times = np.bincount(mixture([Part(10, times=2.5)], 0)[:, 1], minlength=10)
    assert set(times.tolist()) == {2, 3}


def test_a_curriculum_is_one_source_after_another():
    index = curriculum([Part(5), Part(3), Part(4, max_samples=2)], seed=0)
    assert index[:, 0].tolist() == [0] * 5 + [1] * 3 + [2] * 2
    assert (
        sorted(index[:5, 1].tolist()) == [0, 1, 2, 3, 4]
        and (curriculum([Part(50)], 1) != curriculum([Part(50)], 2)).any()
    )


def test_annealing_raises_one_share_over_the_last_part():
    # 0.1 for half the time, then linearly to 0.9: in the last quarter of the rise 0.7 to 0.9, 0.8 on average
    index = annealed([Part(900), Part(70, share=0.1)], 0, total=8000, source=1, start=0.5, share=0.9)
    shares = shares_over(index[:, 0], 2, 8)
    assert shares[:4, 1] == pytest.approx([0.1] * 4, abs=0.002)
    assert shares[4:, 1] == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=0.002)
    assert shares.sum(axis=1) == pytest.approx([1.0] * 8)
    for source, size in ((0, 900), (1, 70)):  # every sample as often as any other, give or take one
        times = np.bincount(index[index[:, 0] == source, 1], minlength=size)
        assert times.max() - times.min() <= 1
    again = annealed([Part(900), Part(70, share=0.1)], 0, total=8000, source=1, start=0.5, share=0.9)
    assert (index == again).all()


def test_every_stretch_of_annealing_is_as_it_should_be():
    index = annealed(
        [Part(90), Part(7, share=0.2), Part(20, share=0.3)], 3, total=1000, source=1, start=0.25, share=1.0
    )
    done = (np.arange(1000) + 0.5) / 1000
    owed = np.cumsum(0.2 + 0.8 * np.clip((done - 0.25) / 0.75, 0, 1))
    assert np.abs(np.cumsum(index[:, 0] == 1) - owed).max() <= 1.5
