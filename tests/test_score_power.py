"""Power: by hand, against simulation, and as text."""

import math

import numpy as np
import pytest

from radvqa.errors import InputError
from radvqa.score.formats import mean_sd, with_interval
from radvqa.score.paired import sign_flip_p
from radvqa.score.power import detectable, intra_class_correlation, num_questions, planned_questions


def test_power_by_hand():
    # (1.9600 + 0.8416) x 0.015 = 0.0420; at 2 points 451 x (0.0420 / 0.02)^2 = 1992
    assert detectable(0.015) == pytest.approx(0.042024, abs=1e-5)
    assert num_questions(0.02, error=0.015, n=451) == math.ceil(451 * (0.042024 / 0.02) ** 2)
    assert num_questions(-0.02, error=0.015, n=451) == num_questions(0.02, error=0.015, n=451)


def test_planning_by_hand():
    # 20 % disagreement, 5 points: 2.8016^2 x (0.2 - 0.0025) / 0.0025 = 620.06
    assert planned_questions(0.05, disagreement=0.2) == 621
    # 5 questions an image with correlation 0.25 count half: design effect 2
    assert planned_questions(0.05, disagreement=0.2, per_image=5, correlation=0.25) == 1241


def test_impossible_plans_are_refused():
    with pytest.raises(InputError, match="no number of questions"):
        num_questions(0.0, error=0.01, n=100)
    with pytest.raises(InputError, match=r"disagreement 0\.01 with a difference of 0\.05"):
        planned_questions(0.05, disagreement=0.01)


def test_the_planned_number_has_the_planned_power():
    # 5 points with 20 % disagreement (12.5 % won, 7.5 % lost), independent questions
    n, num_studies = planned_questions(0.05, disagreement=0.2), 600
    differences = np.random.default_rng(0).choice([1.0, -1.0, 0.0], p=[0.125, 0.075, 0.8], size=(n, num_studies))
    found = (sign_flip_p(differences, 1000) <= 0.05).mean()
    assert 0.75 <= found <= 0.85


def test_correlation_within_images():
    rng = np.random.default_rng(1)
    image = np.repeat(rng.standard_normal(400), 5)
    values = image + rng.standard_normal(2000)  # half of the variance is the image's
    images = np.repeat(np.arange(400), 5)
    assert intra_class_correlation(values, images) == pytest.approx(0.5, abs=0.06)
    assert intra_class_correlation(rng.standard_normal(2000), images) == pytest.approx(0.0, abs=0.05)
    assert math.isnan(intra_class_correlation(values, np.arange(2000)))


def test_values_as_text():
    row = {"value": 0.33412, "sd": 0.2104, "low": 0.30, "high": 0.3712, "n": 100, "num_unscored": 0}
    assert mean_sd(row) == "0.334 ± 0.210"
    assert with_interval(row) == "0.334 [0.300, 0.371], n = 100"
    assert with_interval(row | {"num_unscored": 3}).endswith("n = 100 (3 unscored)")
    assert mean_sd({"value": None}) == with_interval({"value": None}) == "-"
