"""Edges into a block of target genes: one sweep of the coordinate ascent, and what the activities need to know of them.

Axes: T target genes of the block, D perturbations, J listed genes (sources), F shared factors, Q components of the slab.

Model of a target t, over the perturbations that are not listed to hit it: b_dt ~ N(sum_j W_tj a_dj + f_d c_t, s_dt^2 + tau_t^2), with W_tj = z_tj
w_tj, z ~ Bernoulli(pi_j), w ~ sum_q omega_q N(0, sigma_q^2), c ~ N(0, 0.5^2). Activities have mean a_dj and variance v_dj: errors in variables.

All arithmetic is float64. A target's numbers depend on no other target of the block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from causcade.latent.sweep_loops import sweep_targets

__all__ = ["SLAB_SD", "BlockData", "BlockSums", "Prior", "TargetBlock"]

SLAB_SD = (0.05, 0.1, 0.2, 0.4, 0.8)
SHARED_SD = 0.5
START_TAU, MAX_TAU = 0.06, 1.0
MIN_INFORMATION = 1e-12
DRUGS_PER_CHUNK = 32


class Prior(NamedTuple):
    """What all blocks share: prior probability of an edge by source [J], and weights of the components of the slab [Q]."""

    inclusion_J: Tensor
    slab_Q: Tensor


class BlockSums(NamedTuple):
    """What a sweep gives back: expected number of edges by source [J], and of edges by component of the slab [Q]."""

    edges_J: Tensor
    slab_Q: Tensor


@dataclass(frozen=True, kw_only=True)
class BlockData:
    """Data of some target genes, float64 on one device.

    Attributes
    ----------
    effect_TD, variance_TD, weight_TD
        As in :class:`causcade.latent.problem.LatentProblem`, targets first.
    strength_DF
        Strength of the shared responses.
    allowed_TJ
        Whether there may be an edge; False for a gene and itself.
    is_listed_T
        Whether the target is a listed gene.
    min_tau
        Least unexplained standard deviation.
    """

    effect_TD: Tensor
    variance_TD: Tensor
    weight_TD: Tensor
    strength_DF: Tensor
    allowed_TJ: Tensor
    is_listed_T: Tensor
    min_tau: float


class TargetBlock:
    """State of the edges into some target genes.

    Attributes
    ----------
    edge_TJ
        Posterior mean of W.
    inclusion_TJ, log_odds_TJ, slab_mean_TJ
        Posterior probability of an edge, its logarithmic odds, and the mean of the weight if there is one.
    tau2_T
        Variance of what the model leaves unexplained.
    loading_TF
        Loadings of the shared responses.
    takes_part_D
        Perturbations that count; all at first.
    """

    STATE = ("edge_TJ", "inclusion_TJ", "log_odds_TJ", "slab_mean_TJ", "tau2_T", "loading_TF")

    def __init__(self, data: BlockData) -> None:
        self.data = data
        zero_TJ = torch.zeros_like(data.allowed_TJ, dtype=torch.float64)
        self.edge_TJ, self.inclusion_TJ, self.slab_mean_TJ = (zero_TJ.clone() for _ in range(3))
        self.log_odds_TJ = zero_TJ - torch.inf
        self.tau2_T = torch.full_like(data.effect_TD[:, 0], START_TAU**2)
        self.loading_TF = torch.zeros_like(data.effect_TD[:, :1]).repeat(1, data.strength_DF.shape[1])
        self.takes_part_D = torch.ones_like(data.effect_TD[0], dtype=torch.bool)
        self._sd2_Q = torch.tensor(SLAB_SD, dtype=torch.float64, device=data.effect_TD.device).square()

    def precision(self) -> Tensor:
        """Weight of each effect in the regression, [T, D]."""
        return torch.div(self.data.weight_TD * self.takes_part_D, self.data.variance_TD + self.tau2_T[:, None])

    def residual(self, activity_DJ: Tensor) -> Tensor:
        """Return what the model leaves, [T, D]."""
        fitted_TD = self.edge_TJ @ activity_DJ.T + self.loading_TF @ self.data.strength_DF.T
        return torch.sub(self.data.effect_TD, fitted_TD)

    def sweep(self, activity_DJ: Tensor, variance_DJ: Tensor, prior: Prior, *, renew_tau: bool) -> BlockSums:
        """Renew the shared loadings, then every edge, source by source; then the unexplained variance.

        Parameters
        ----------
        activity_DJ, variance_DJ
            Posterior means and variances of the activities.
        prior
            Shared by all blocks.
        renew_tau
            Whether to renew the unexplained variance.
        """
        weight_TD, fitted_TD = self.precision(), self.edge_TJ @ activity_DJ.T
        self._fit_loadings(fitted_TD, weight_TD)
        weighted_TD = weight_TD * (self.data.effect_TD - (fitted_TD + self.loading_TF @ self.data.strength_DF.T))
        own_TJ = weight_TD @ activity_DJ**2
        information_TJ = (own_TJ + weight_TD @ variance_DJ).clamp_min(MIN_INFORMATION)
        signal_TJQ = information_TJ[:, :, None] * self._sd2_Q
        loop = _SweepLoop(
            weighted_TD=weighted_TD, weight_TD=weight_TD, activity_JD=activity_DJ.T.contiguous(), own_TJ=own_TJ,
            scale_TJQ=self._sd2_Q / (1 + signal_TJQ), offset_TJQ=prior.slab_Q.log() - 0.5 * signal_TJQ.log1p_(),
            odds_TJ=torch.where(self.data.allowed_TJ, torch.logit(prior.inclusion_J), -torch.inf), edge_TJ=self.edge_TJ.clone(),
        )  # fmt: skip
        self.log_odds_TJ, slab_mean_TJ, slab_Q = (_by_target if weighted_TD.device.type == "cpu" else _by_source)(loop)
        self.inclusion_TJ = torch.sigmoid(self.log_odds_TJ)
        self.slab_mean_TJ = torch.where(self.data.allowed_TJ, slab_mean_TJ, 0.0)
        self.edge_TJ = self.inclusion_TJ * self.slab_mean_TJ
        if renew_tau:
            self._renew_tau(activity_DJ)
        return BlockSums(self.inclusion_TJ.sum(dim=0), slab_Q)

    def _fit_loadings(self, fitted_TD: Tensor, weight_TD: Tensor) -> None:
        strength_DF = self.data.strength_DF
        if strength_DF.shape[1] == 0:
            return
        normal_TFF = torch.einsum("td,df,dg->tfg", weight_TD, strength_DF, strength_DF)
        normal_TFF += torch.eye(strength_DF.shape[1], dtype=torch.float64, device=strength_DF.device) / SHARED_SD**2
        self.loading_TF = torch.linalg.solve(normal_TFF, (weight_TD * (self.data.effect_TD - fitted_TD)) @ strength_DF)

    def _renew_tau(self, activity_DJ: Tensor) -> None:
        weight_TD = self.data.weight_TD * self.takes_part_D
        excess_T = (weight_TD * (self.residual(activity_DJ) ** 2 - self.data.variance_TD)).sum(dim=1) / weight_TD.sum(dim=1).clamp_min(1)
        self.tau2_T = (0.5 * self.tau2_T + 0.5 * excess_T).clamp(self.data.min_tau**2, MAX_TAU**2)

    def footprint(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Collect what the targets that are no listed genes tell of the activities in some perturbations.

        Returns
        -------
        precision_DJJ
            Sum over targets of w_dt m_t m_t'.
        moment_DJ
            Sum over targets of w_dt m_t (b_dt - f_d c_t).
        """
        data = self.data
        measured_Td = (data.weight_TD[:, start:stop] > 0) & ~data.is_listed_T[:, None]
        weight_dT = (measured_Td / (data.variance_TD[:, start:stop] + self.tau2_T[:, None])).T
        left_Td = data.effect_TD[:, start:stop] - self.loading_TF @ data.strength_DF[start:stop].T
        precision_dJJ = self.edge_TJ.T @ (weight_dT[:, :, None] * self.edge_TJ)
        return precision_dJJ, (weight_dT * left_Td.T) @ self.edge_TJ


class _SweepLoop(NamedTuple):
    """What the loop over sources takes; see :func:`causcade.latent.sweep_loops.sweep_targets`. It may write to the first and the last."""

    weighted_TD: Tensor
    weight_TD: Tensor
    activity_JD: Tensor
    own_TJ: Tensor
    scale_TJQ: Tensor
    offset_TJQ: Tensor
    odds_TJ: Tensor
    edge_TJ: Tensor


def _by_target(loop: _SweepLoop) -> tuple[Tensor, Tensor, Tensor]:
    """Log odds and mean weights given an edge [T, J], and expected edges by component [Q]; compiled, for CPUs, with a few targets in the cache."""
    log_odds_TJ, slab_mean_TJ = (loop.edge_TJ.new_empty(loop.edge_TJ.shape) for _ in range(2))
    slab_Q = loop.edge_TJ.new_zeros(loop.scale_TJQ.shape[2])
    sweep_targets(*(tensor.contiguous().numpy() for tensor in (*loop, log_odds_TJ, slab_mean_TJ, slab_Q)))
    return log_odds_TJ, slab_mean_TJ, slab_Q


def _by_source(loop: _SweepLoop) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`_by_target`, for GPUs, where all targets of a block go at once."""
    edge_JT, odds_JT = loop.edge_TJ.T.contiguous(), loop.odds_TJ.T.contiguous()
    scale_JQT, offset_JQT = (tensor.permute(1, 2, 0).contiguous() for tensor in (loop.scale_TJQ, loop.offset_TJQ))
    own_moment_JT = loop.own_TJ.T * edge_JT
    log_odds_JT, slab_mean_JT = torch.empty_like(edge_JT), torch.empty_like(edge_JT)
    slab_Q = loop.edge_TJ.new_zeros(loop.scale_TJQ.shape[2])
    for j, activity_D in enumerate(loop.activity_JD):
        moment_T = torch.addmv(own_moment_JT[j], loop.weighted_TD, activity_D)
        mean_QT = moment_T * scale_JQT[j]
        evidence_QT = torch.addcmul(offset_JQT[j], moment_T, mean_QT, value=0.5)
        ratio_T = torch.logsumexp(evidence_QT, dim=0)
        component_QT = torch.exp(evidence_QT - ratio_T)  # weights of the components given an edge
        slab_mean_T = torch.sum(component_QT * mean_QT, dim=0, out=slab_mean_JT[j])
        inclusion_T = torch.sigmoid(torch.add(odds_JT[j], ratio_T, out=log_odds_JT[j]))
        loop.weighted_TD.addcmul_(loop.weight_TD, torch.outer(inclusion_T * slab_mean_T - edge_JT[j], activity_D), value=-1)
        slab_Q.addmv_(component_QT, inclusion_T)
    return log_odds_JT.T.contiguous(), slab_mean_JT.T.contiguous(), slab_Q
