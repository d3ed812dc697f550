"""The joint scaling law of fine-tuning: fitted to the losses of many runs, with intervals, and what follows from it.

fits = [estimate(points, form_for(points)) for points in read_points("points.csv", by="topic")]
reach(fits[0], 1.9).data
"""

from radvqa.scaling.estimate import Fit, estimate, form_for
from radvqa.scaling.law import FORMS, Form
from radvqa.scaling.points import Points, falling, read_points
from radvqa.scaling.reach import HeldOut, Reach, floor, held_out, reach

__all__ = [
    "FORMS",
    "Fit",
    "Form",
    "HeldOut",
    "Points",
    "Reach",
    "estimate",
    "falling",
    "floor",
    "form_for",
    "held_out",
    "reach",
    "read_points",
]
