"""Activities of the listed genes, perturbation by perturbation.

Axes: D perturbations (d of a chunk), J listed genes, F shared factors.

(I - W_JJ) a_d = u_d + process noise. u_dj ~ N(sign mu, sd^2) at listed targets (N(0, mu^2 + sd^2) where the sign is unknown), and N(0, tau_j^2)
elsewhere. The mRNA of a seen gene is a measurement of its activity; all other genes are regressed on the activities. All of it is normal, so the
posterior is one solution of J equations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["ActivityData", "first_activities", "solve_activities"]


class ActivityData(NamedTuple):
    """Data of the listed genes, float64, all [D, J] but the last two.

    effect, variance: of their mRNA; listed, sign: links; seen: whether the mRNA is a measurement of the activity; typical_effect, direct_sd: mean
    size and spread of a direct effect.
    """

    effect_DJ: Tensor
    variance_DJ: Tensor
    listed_DJ: Tensor
    sign_DJ: Tensor
    seen_DJ: Tensor
    typical_effect: float
    direct_sd: float


def first_activities(data: ActivityData) -> Tensor:
    """Activities to start from, [D, J]: the mRNA, shrunk where it is no listed target; the typical effect where it is not looked at."""
    shrunk_DJ = data.effect_DJ * (1 - 2 * data.variance_DJ / data.effect_DJ.square().clamp_min(1e-30)).clamp_min(0)
    measured_DJ = torch.where(data.listed_DJ, data.effect_DJ, shrunk_DJ)
    return torch.where(data.seen_DJ, measured_DJ, data.sign_DJ * data.typical_effect)


def solve_activities(
    data: ActivityData, drugs: slice, edge_JJ: Tensor, process_variance_J: Tensor, shared_dJ: Tensor, precision_dJJ: Tensor, moment_dJ: Tensor
) -> tuple[Tensor, Tensor]:
    """Posterior mean and variance of the activities in some perturbations, both [d, J].

    Parameters
    ----------
    data
        Of all perturbations.
    drugs
        Those to solve for.
    edge_JJ
        W among the listed genes, target first.
    process_variance_J
        Variance of what is not explained in each.
    shared_dJ
        Shared response of each.
    precision_dJJ, moment_dJ
        What the other genes tell; see :meth:`causcade.latent.block.TargetBlock.footprint`.
    """
    listed_dJ, sign_dJ, seen_dJ = data.listed_DJ[drugs], data.sign_DJ[drugs], data.seen_DJ[drugs]
    direct_variance_dJ = data.direct_sd**2 + (sign_dJ == 0) * data.typical_effect**2
    direct_precision_dJ = 1 / torch.where(listed_dJ, direct_variance_dJ, process_variance_J)
    left_JJ = torch.eye(len(edge_JJ), dtype=edge_JJ.dtype, device=edge_JJ.device) - edge_JJ
    measurement_dJ = seen_dJ / data.variance_DJ[drugs]
    posterior_dJJ = left_JJ.T @ (direct_precision_dJ[:, :, None] * left_JJ) + precision_dJJ + torch.diag_embed(measurement_dJ)
    right_dJ = (direct_precision_dJ * sign_dJ * data.typical_effect) @ left_JJ + measurement_dJ * (data.effect_DJ[drugs] - shared_dJ) + moment_dJ
    covariance_dJJ = torch.cholesky_inverse(torch.linalg.cholesky(posterior_dJJ))
    mean_dJ = (covariance_dJJ @ right_dJ[:, :, None]).squeeze(2)
    return mean_dJ, torch.diagonal(covariance_dJJ, dim1=1, dim2=2).clone()
