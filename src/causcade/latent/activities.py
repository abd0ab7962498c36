"""Activities of the listed genes, perturbation by perturbation.

Axes: D perturbations (d of a chunk), J listed genes, F shared factors.

(I - W_JJ) a_d = u_d + process noise. u_dj ~ N(sign mu, sd^2) at listed targets (N(0, mu^2 + sd^2) where the sign is unknown), and N(0, tau_j^2)
elsewhere. The mRNA of a seen gene is a measurement of its activity; where the gene is no listed target, with an error of half its change beside that
of the mRNA: a gene that moves as a consequence may have been hit in its activity too, and a small error would let one number overrule all that the
gene regulates. All other genes are regressed on the activities. All of it is normal, so the posterior is one solution of J equations.

A perturbation acts on the mRNA of its targets (these are seen) or on their activity (their mRNA follows their regulators, as that of any gene). Where
a drug has quiet targets, that do not move beside others that do, there is a third way: it acts on the activity of the quiet ones, the others follow
them and are listed by mistake. Where this is left to the fit, all ways are solved for, and that with the largest marginal likelihood is taken.

A knockout whose own mRNA is not looked at has the typical effect, with its spread as error: the size of such a hit is seen only times the weights,
both of which drift from round to round if it is fitted.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["ActivityData", "Evidence", "Solution", "first_activities", "first_variances", "solve_activities"]

ACTIVITY_ERROR = 0.5  # of the activity of a gene that is no listed target, as a share of the change of its mRNA
HELD = 1e-3  # error with which the activity of a knockout is held in the solution, as a share of the typical effect


class ActivityData(NamedTuple):
    """Data of the listed genes, float64, all [D, J] but the last three.

    effect, variance: of their mRNA; listed, quiet: links, the quiet ones hits at first; sign: of all these; seen: whether the mRNA is a
    measurement of the activity; measured: whether there is a number of the mRNA at all; fixed: whether the activity is the typical effect;
    typical_effect, direct_sd, fixed_sd: mean size and spread of a direct effect, and the spread where it is fixed.
    """

    effect_DJ: Tensor
    variance_DJ: Tensor
    listed_DJ: Tensor
    quiet_DJ: Tensor
    sign_DJ: Tensor
    seen_DJ: Tensor
    measured_DJ: Tensor
    fixed_DJ: Tensor
    typical_effect: float
    direct_sd: float
    fixed_sd: float


def first_activities(data: ActivityData) -> Tensor:
    """Activities to start from, [D, J]: of listed targets alone, their mRNA, or the typical effect where it is not looked at; 0 elsewhere.

    A gene that only follows must not start with an activity: all that follows the same regulator would look like its targets, and a listed gene that
    a hub regulates would take the edges of the hub. What is not hit gets its activity in the next round, from the regulators found.
    """
    start_DJ = torch.where(data.seen_DJ & ~data.quiet_DJ, data.effect_DJ, data.sign_DJ * data.typical_effect)
    return torch.where(data.listed_DJ | data.quiet_DJ, start_DJ, torch.zeros_like(start_DJ))


def first_variances(data: ActivityData) -> Tensor:
    """Variances of the activities to start with, [D, J]: that of fixed ones, 0 elsewhere."""
    return data.fixed_DJ.to(data.effect_DJ.dtype) * data.fixed_sd**2


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
    """Posterior mean and variance of the activities, which mRNA was taken for a measurement, and which links for hits, all [d, J]."""

    mean_dJ: Tensor
    variance_dJ: Tensor
    seen_dJ: Tensor
    listed_dJ: Tensor


class _Way(NamedTuple):
    """A way to act, all [d, J]: links that are hits, mRNA that measures the activity, mRNA that follows the regulators of the gene."""

    listed_dJ: Tensor
    seen_dJ: Tensor
    follows_dJ: Tensor


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
        Those for which ways to act are compared; the others are seen as `data` says.
    """
    seen_dJ, listed_dJ = data.seen_DJ[drugs], data.listed_DJ[drugs]
    signed_dJ = (data.sign_DJ[drugs] != 0) & data.measured_DJ[drugs] & undecided_d[:, None]
    link_dJ, quiet_dJ = listed_dJ & signed_dJ, data.quiet_DJ[drugs] & signed_dJ
    ways = [_Way(listed_dJ, seen_dJ | link_dJ, torch.zeros_like(seen_dJ))]
    if bool(link_dJ.any()):
        ways.append(_Way(listed_dJ, seen_dJ & ~link_dJ, link_dJ))
    if bool(quiet_dJ.any()):
        has_quiet_d1 = quiet_dJ.any(dim=1, keepdim=True)
        ways.append(_Way(listed_dJ | quiet_dJ, seen_dJ & ~link_dJ & ~quiet_dJ, (link_dJ | quiet_dJ) & has_quiet_d1))
        ways.append(_Way((listed_dJ & ~link_dJ) | quiet_dJ, (seen_dJ | link_dJ) & ~quiet_dJ, quiet_dJ))
    best, best_d = _solve(data, drugs, known, ways[0])
    for way in ways[1:]:
        found, evidence_d = _solve(data, drugs, known, way)
        # A way that has nothing to follow is no other way, but for the rounding.
        is_better_d = (evidence_d > best_d) & way.follows_dJ.any(dim=1)
        best_d = torch.where(is_better_d, evidence_d, best_d)
        best = Solution(*(torch.where(is_better_d[:, None], new, old) for new, old in zip(found, best, strict=True)))
    return best


def _solve(data: ActivityData, drugs: slice, known: Evidence, way: _Way) -> tuple[Solution, Tensor]:
    """Posterior if a perturbation acts in this way, and logarithm of its marginal likelihood [d] but for what is the same in all ways."""
    (listed_dJ, seen_dJ, follows_dJ), edge_JJ = way, known.edge_JJ
    sign_dJ = data.sign_DJ[drugs] * listed_dJ
    value_dJ = data.effect_DJ[drugs] - known.shared_dJ
    variance_dJ = data.variance_DJ[drugs] + (ACTIVITY_ERROR * data.effect_DJ[drugs] * ~listed_dJ) ** 2
    direct_variance_dJ = data.direct_sd**2 + (sign_dJ == 0) * data.typical_effect**2
    fixed_dJ = data.fixed_DJ[drugs]
    # What regulates a gene does not matter once it is knocked out.
    direct_precision_dJ = ~fixed_dJ / torch.where(listed_dJ, direct_variance_dJ, known.process_variance_J)
    left_JJ = torch.eye(len(edge_JJ), dtype=edge_JJ.dtype, device=edge_JJ.device) - edge_JJ
    follows_variance_dJ = variance_dJ + known.process_variance_J
    held_dJ = fixed_dJ.to(variance_dJ.dtype) / (HELD * data.typical_effect) ** 2
    measured_dJ, follows_dJ1 = seen_dJ / variance_dJ, follows_dJ / follows_variance_dJ
    posterior_dJJ = left_JJ.T @ (direct_precision_dJ[:, :, None] * left_JJ) + known.precision_dJJ + torch.diag_embed(measured_dJ + held_dJ)
    if bool(follows_dJ.any()):  # most often nothing does, and the product is a third of the work
        posterior_dJJ = posterior_dJJ + edge_JJ.T @ (follows_dJ1[:, :, None] * edge_JJ)
    direct_dJ = sign_dJ * data.typical_effect
    right_dJ = (direct_precision_dJ * direct_dJ) @ left_JJ + known.moment_dJ + held_dJ * direct_dJ
    right_dJ = right_dJ + measured_dJ * value_dJ + (follows_dJ1 * value_dJ) @ edge_JJ
    factor_dJJ = torch.linalg.cholesky(posterior_dJJ)
    covariance_dJJ = torch.cholesky_inverse(factor_dJJ)
    mean_dJ = (covariance_dJJ @ right_dJ[:, :, None]).squeeze(2)
    misfit_d = ((measured_dJ + follows_dJ1) * value_dJ**2 + seen_dJ * variance_dJ.log() + follows_dJ * follows_variance_dJ.log()).sum(dim=1)
    log_root_d = torch.diagonal(factor_dJJ, dim1=1, dim2=2).log().sum(dim=1)
    prior_d = torch.where(fixed_dJ, 0.0, direct_precision_dJ * direct_dJ**2 - direct_precision_dJ.log()).sum(dim=1)
    evidence_d = 0.5 * (right_dJ * mean_dJ).sum(dim=1) - log_root_d - 0.5 * (misfit_d + prior_d)
    own_variance_dJ = torch.where(fixed_dJ, data.fixed_sd**2, torch.diagonal(covariance_dJJ, dim1=1, dim2=2))
    return Solution(torch.where(fixed_dJ, direct_dJ, mean_dJ), own_variance_dJ, seen_dJ, listed_dJ), evidence_d
