"""Intervals, paired tests and their honesty on simulated clustered data."""

import itertools

import numpy as np
import pytest
from scipy import stats

from radvqa.score.intervals import (
    bootstrap_totals,
    bounded,
    cluster_codes,
    cluster_interval,
    cluster_sums,
    clustered_error,
)
from radvqa.score.paired import holm, mcnemar, mcnemar_counts, mcnemar_p, permutation_test, sign_flip_p


def clustered(rng, num_images, per_image, share=0.6, spread=1.5):
    """0/1 outcomes whose chance differs between images (logit-normal), and the image of each."""
    logits = np.log(share / (1 - share)) + spread * rng.standard_normal(num_images)
    images = np.repeat(np.arange(num_images), per_image)
    return (rng.random(len(images)) < 1 / (1 + np.exp(-logits[images]))).astype(float), images


# ---------------------------------------------------------------- sums and draws


def test_cluster_sums_by_hand():
    values = np.array([[1.0], [0.0], [np.nan], [1.0]])
    sums, counts = cluster_sums(values, cluster_codes(np.array(["b", "a", "a", "b"])))
    assert sums.ravel().tolist() == [0.0, 2.0] and counts.ravel().tolist() == [1.0, 2.0]


def test_each_draw_takes_as_many_clusters_as_there_are():
    totals = bootstrap_totals(np.ones((7, 1)), 50, 0)
    assert (totals == 7).all()


def test_blocks_of_draws_do_not_change_them(monkeypatch):
    sums = np.random.default_rng(0).random((40, 3))
    whole = bootstrap_totals(sums, 100, 5)
    monkeypatch.setattr("radvqa.score.intervals.BLOCK", 40 * 7)
    assert np.allclose(bootstrap_totals(sums, 100, 5), whole, atol=1e-12)


def test_input_order_does_not_matter():
    rng = np.random.default_rng(1)
    values, images = clustered(rng, 50, 4)
    order = rng.permutation(len(values))
    assert cluster_interval(values, images) == cluster_interval(values[order], images[order])


def test_analytic_error_by_hand():
    # two images, (1, 1) and (0, 0): mean 0.5, residual sums 1 and -1; sqrt(2 / 1 x (1 + 1)) / 4 = 0.5
    sums, counts = cluster_sums(np.array([[1.0], [1.0], [0.0], [0.0]]), np.array([0, 0, 1, 1]))
    assert clustered_error(sums, counts)[0] == pytest.approx(0.5)
    # every question its own image: the usual standard error of a mean
    values = np.random.default_rng(0).random(30)
    error = clustered_error(*cluster_sums(values[:, None], np.arange(30)))[0]
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(30))


def test_bootstrap_and_analytic_error_agree():
    values, images = clustered(np.random.default_rng(2), 300, 5)
    found = cluster_interval(values, images, num_draws=4000)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(found.error, rel=0.05)


def test_clustering_widens_the_interval():
    values, images = clustered(np.random.default_rng(3), 100, 10, spread=3.0)
    by_image, by_question = cluster_interval(values, images), cluster_interval(values, np.arange(len(values)))
    assert by_image.high - by_image.low > 1.5 * (by_question.high - by_question.low)


def test_unscored_values_are_counted_out_and_never_zero():
    found = cluster_interval(np.array([1.0, np.nan, 1.0, np.nan]), np.array([0, 0, 1, 2]))
    assert (found.value, found.n, found.num_clusters) == (1.0, 2, 2)


def test_all_right_is_not_certainty():
    # 20 images, all right: 1 - 0.025^(1/20) = 0.168 below 1, Clopper and Pearson's limit
    found = cluster_interval(np.ones(20), np.arange(20))
    assert found.high == 1.0 and found.low == pytest.approx(stats.binomtest(20, 20).proportion_ci().low)
    low, high = bounded(np.zeros(1), np.zeros(1), np.zeros(1), np.array([20]))
    assert low[0] == 0.0 and high[0] == pytest.approx(stats.binomtest(0, 20).proportion_ci().high)


def test_one_image_has_no_interval():
    found = cluster_interval(np.array([1.0, 0.0]), np.array(["a", "a"]))
    assert found.value == 0.5 and found.low is None and found.high is None and found.error is None
    assert cluster_interval(np.array([np.nan]), np.array(["a"])).value is None


# ---------------------------------------------------------------- paired tests


def test_sign_flips_are_exact_for_few_clusters():
    sums = np.array([2.0, 1.0, -1.0, 3.0])
    seen = abs(sums.sum())
    wanted = np.mean([abs(np.dot(signs, sums)) >= seen for signs in itertools.product((-1, 1), repeat=4)])
    assert sign_flip_p(sums[:, None])[0] == wanted


def test_sign_flips_flip_whole_images():
    # 40 questions all better, but only 3 images: 2 of 8 sign patterns are as far, p = 0.25
    differences, images = np.ones(40), np.repeat([0, 1, 2], [20, 10, 10])
    assert permutation_test(differences, images).p == 0.25
    assert permutation_test(differences, np.arange(40)).p < 0.001


def test_drawn_and_exact_sign_flips_agree(monkeypatch):
    sums = np.random.default_rng(4).normal(0.5, 1, (11, 1))
    exact = sign_flip_p(sums)[0]
    monkeypatch.setattr("radvqa.score.paired.EXACT", 2)
    assert sign_flip_p(sums, 40_000)[0] == pytest.approx(exact, abs=0.01)


def test_mcnemar_by_hand():
    # 8 won and 2 lost: 2 x (C(10,0) + C(10,1) + C(10,2)) / 2^10 = 112 / 1024
    assert mcnemar_p(8, 2) == pytest.approx(112 / 1024) and mcnemar_p(0, 0) == 1.0
    first, second = np.array([1, 1, 0, np.nan, 1.0]), np.array([0, 1, 1, 1, 0.0])
    assert mcnemar_counts(first[:3], second[:3]) == (1, 1)
    found = mcnemar(first, second)
    assert (found.n, found.difference) == (4, 0.25)


def test_holm_by_hand():
    # sorted 0.01 0.03 0.04 -> x3, x2, x1 -> 0.03 0.06 0.04 -> running maximum 0.03 0.06 0.06
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


# ---------------------------------------------------------------- what 95 % means


def test_nominal_95_percent_covers_93_to_97():
    rng, truth = np.random.default_rng(11), None
    truth = clustered(rng, 400_000, 1)[0].mean()
    covered = []
    for run in range(1500):
        values, images = clustered(rng, 60, rng.integers(1, 9, size=60))
        found = cluster_interval(values, images, num_draws=600, seed=run)
        covered.append(found.low <= truth <= found.high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_false_positives_of_the_paired_test_are_4_to_6_percent():
    # columns are simulated pairs of equally good runs: 50 images of 4 questions, agreement within an image
    rng, num_pairs = np.random.default_rng(12), 4000
    chance = rng.beta(1.5, 1.0, (50, 1, num_pairs))
    first, second = (rng.random((50, 4, num_pairs)) < chance for _ in range(2))
    sums = (first.sum(axis=1) - second.sum(axis=1)).astype(float)
    p = np.concatenate([sign_flip_p(sums[:, k : k + 200], 1000, seed=k) for k in range(0, num_pairs, 200)])
    assert 0.04 <= (p <= 0.05).mean() <= 0.06
