"""The score room: predictions in, metrics with intervals, controls and paired tests out. No torch.

scores, tables = score_predictions(pl.read_parquet("predictions.parquet"), train_answers)
"""

# ruff: noqa: F401, I001 - each file registers its metrics, and tables print them in this order
from radvqa.score import exact, closed, likelihood, choice, tokens, rouge, bleu
from radvqa.score import llava_med, multimedeval, medvint, med_moe, medgemma, gr5293, extras, radeval
from radvqa.score.answers import read_answers, score_answers
from radvqa.score.registry import METRICS, Metric
from radvqa.score.scores import score_predictions, train_answers, write_scores

__all__ = ["METRICS", "Metric", "read_answers", "score_answers", "score_predictions", "train_answers", "write_scores"]
