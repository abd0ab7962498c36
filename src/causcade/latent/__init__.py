"""The joint latent-activity estimator: a directed network with a probability per edge, from the effects of perturbations and no curated edge.

Every listed target has an activity in every perturbation; every gene is regressed on the activities, whose errors count; edges have a spike-and-slab
prior whose rate is learnt source by source (:mod:`~causcade.latent.estimate`). Edges that are paths through genes that nothing hits are told apart
(:mod:`~causcade.latent.mediators`), and all candidates are ranked (:mod:`~causcade.latent.score`).
"""

from causcade.latent.cells import covariance_within_conditions, partial_correlation, partial_table
from causcade.latent.estimate import Posterior, estimate
from causcade.latent.fit import LatentFit, fit_latent, write_latent
from causcade.latent.fits import all_candidates, run_latent
from causcade.latent.problem import LatentProblem, make_latent_problem
from causcade.latent.score import EdgeScores, score_edges

__all__ = [
    "EdgeScores", "LatentFit", "LatentProblem", "Posterior", "all_candidates", "covariance_within_conditions", "estimate", "fit_latent",
    "make_latent_problem", "partial_correlation", "partial_table", "run_latent", "score_edges", "write_latent",
]  # fmt: skip
