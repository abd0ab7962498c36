"""Activities of the listed genes, perturbation by perturbation.

Axes: D perturbations (d of a chunk), J listed genes, F shared factors.

(I - W_JJ) a_d = u_d + process noise. u_dj ~ N(sign mu, sd^2) at listed targets (N(0, mu^2 + sd^2) where the sign is unknown), and N(0, tau_j^2)
elsewhere. The mRNA of a seen gene is a measurement of its activity; where the gene is no listed target, with an error of half its change beside that
of the mRNA: a gene that moves as a consequence may have been hit in its activity too, and a small error would let one number overrule all that the
gene regulates. All other genes are regressed on the activities. All of it is normal, so the posterior is one solution of J equations.

A perturbation acts on the mRNA of its targets (these are seen) or on their activity (their mRNA follows their regulators, as that of any gene). Where
this is left to the fit, both are solved for, and the one with the larger marginal likelihood is taken.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["ActivityData", "Evidence", "Solution", "first_activities", "solve_activities"]


class ActivityData(NamedTuple):
    """Data of the listed genes, float64, all [D, J] but the last two.

    effect, variance: of their mRNA, the variance as a measure of the activity; listed, sign: links; seen: whether the mRNA is a measurement of the
    activity; measured: whether there is a number of the mRNA at all; typical_effect, direct_sd: mean size and spread of a direct effect.
    """

    effect_DJ: Tensor
    variance_DJ: Tensor
    listed_DJ: Tensor
    sign_DJ: Tensor
    seen_DJ: Tensor
    measured_DJ: Tensor
    typical_effect: float
    direct_sd: float


def first_activities(data: ActivityData) -> Tensor:
    """Activities to start from, [D, J]: of listed targets alone, their mRNA, or the typical effect where it is not looked at; 0 elsewhere.

    A gene that only follows must not start with an activity: all that follows the same regulator would look like its targets, and a listed gene that
    a hub regulates would take the edges of the hub. What is not hit gets its activity in the next round, from the regulators found.
    """
    start_DJ = torch.where(data.seen_DJ, data.effect_DJ, data.sign_DJ * data.typical_effect)
    return torch.where(data.listed_DJ, start_DJ, torch.zeros_like(start_DJ))


class Evidence(NamedTuple):
    """What is known of the activities in some perturbations, beside their own mRNA.

    edge_JJ: W among the listed genes, target first. process_variance_J: variance of what is not explained in each. shared_dJ: shared response of
    each. precision_dJJ, moment_dJ: what the other genes tell; see :meth:`causcade.latent.block.TargetBlock.footprint`.
    """

    edge_JJ: Tensor
    process_variance_J: Tensor
    shared_dJ: Tensor
    precision_dJJ: Tensor
    moment_dJ: Tensor


class Solution(NamedTuple):
    """Posterior mean and variance of the activities, and which mRNA was taken for a measurement, all [d, J]."""

    mean_dJ: Tensor
    variance_dJ: Tensor
    seen_dJ: Tensor


def solve_activities(data: ActivityData, drugs: slice, known: Evidence, undecided_d: Tensor) -> Solution:
    """Posterior of the activities in some perturbations.

    Parameters
    ----------
    data
        Of all perturbations.
    drugs
        Those to solve for.
    known
        What is known beside their mRNA.
    undecided_d
        Those for which the two ways to act are compared; the others are seen as `data` says.
    """
    seen_dJ = data.seen_DJ[drugs]
    link_dJ = data.listed_DJ[drugs] & (data.sign_DJ[drugs] != 0) & data.measured_DJ[drugs] & undecided_d[:, None]
    on_mrna = _solve(data, drugs, known, seen_dJ | link_dJ, torch.zeros_like(seen_dJ))
    if not bool(link_dJ.any()):
        return Solution(*on_mrna[:2], seen_dJ)
    on_activity = _solve(data, drugs, known, seen_dJ & ~link_dJ, link_dJ)
    is_activity_d1 = (on_activity[2] > on_mrna[2])[:, None] & undecided_d[:, None]
    mean_dJ, variance_dJ = (torch.where(is_activity_d1, second, first) for first, second in zip(on_mrna[:2], on_activity[:2], strict=True))
    return Solution(mean_dJ, variance_dJ, torch.where(is_activity_d1, seen_dJ & ~link_dJ, seen_dJ | link_dJ))


def _solve(data: ActivityData, drugs: slice, known: Evidence, seen_dJ: Tensor, follows_dJ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance [d, J], and logarithm of the marginal likelihood [d] but for what does not depend on which mRNA is seen.

    seen_dJ: mRNA that measures the activity. follows_dJ: mRNA that follows the regulators of the gene.
    """
    listed_dJ, sign_dJ, edge_JJ = data.listed_DJ[drugs], data.sign_DJ[drugs], known.edge_JJ
    value_dJ, variance_dJ = data.effect_DJ[drugs] - known.shared_dJ, data.variance_DJ[drugs]
    direct_variance_dJ = data.direct_sd**2 + (sign_dJ == 0) * data.typical_effect**2
    direct_precision_dJ = 1 / torch.where(listed_dJ, direct_variance_dJ, known.process_variance_J)
    left_JJ = torch.eye(len(edge_JJ), dtype=edge_JJ.dtype, device=edge_JJ.device) - edge_JJ
    follows_variance_dJ = variance_dJ + known.process_variance_J
    measured_dJ, follows_dJ1 = seen_dJ / variance_dJ, follows_dJ / follows_variance_dJ
    posterior_dJJ = left_JJ.T @ (direct_precision_dJ[:, :, None] * left_JJ) + known.precision_dJJ + torch.diag_embed(measured_dJ)
    if bool(follows_dJ.any()):  # most often nothing does, and the product is a third of the work
        posterior_dJJ = posterior_dJJ + edge_JJ.T @ (follows_dJ1[:, :, None] * edge_JJ)
    right_dJ = (direct_precision_dJ * sign_dJ * data.typical_effect) @ left_JJ + known.moment_dJ
    right_dJ = right_dJ + measured_dJ * value_dJ + (follows_dJ1 * value_dJ) @ edge_JJ
    factor_dJJ = torch.linalg.cholesky(posterior_dJJ)
    covariance_dJJ = torch.cholesky_inverse(factor_dJJ)
    mean_dJ = (covariance_dJJ @ right_dJ[:, :, None]).squeeze(2)
    misfit_d = ((measured_dJ + follows_dJ1) * value_dJ**2 + seen_dJ * variance_dJ.log() + follows_dJ * follows_variance_dJ.log()).sum(dim=1)
    log_root_d = torch.diagonal(factor_dJJ, dim1=1, dim2=2).log().sum(dim=1)
    evidence_d = 0.5 * (right_dJ * mean_dJ).sum(dim=1) - log_root_d - 0.5 * misfit_d
    return mean_dJ, torch.diagonal(covariance_dJJ, dim1=1, dim2=2).clone(), evidence_d
