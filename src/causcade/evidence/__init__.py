"""Evidence for every candidate edge, column by column, each with its nulls, and the choice of the column that ranks the network.

:func:`measure_evidence` makes the columns of one fit, :func:`partial_in_controls` those of control cells, :func:`choose_score` decides which is the
score.
"""

from causcade.evidence.choice import ELIGIBLE, choose_score
from causcade.evidence.fits import COLUMNS, NOT_RANKED, aggregate_ranks, measure_evidence, read_fit_weights, read_scores
from causcade.evidence.held_out import HELD_OUT_COLUMNS, predict_held_out
from causcade.evidence.partial import measure_controls, partial_correlation, partial_in_controls
from causcade.evidence.perturbations import deconvolve_targets, prepare_effects, ridge_between_perturbations, shift_of_target

__all__ = [
    "COLUMNS", "ELIGIBLE", "HELD_OUT_COLUMNS", "NOT_RANKED", "aggregate_ranks", "choose_score", "deconvolve_targets", "measure_controls",
    "measure_evidence", "partial_correlation", "partial_in_controls", "predict_held_out", "prepare_effects", "read_fit_weights", "read_scores",
    "ridge_between_perturbations", "shift_of_target",
]  # fmt: skip
