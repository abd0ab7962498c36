"""Fitting the causal module: Adam with a proximal L1, edge dropout, and a bound on the spectral radius.

Axes: G genes, D perturbations, E edges, S entries of the direct effects, F shared factors, R rank.

Loss, divided by D G: half the squared residuals, each weighted by 1 / (s^2 + tau_g^2), plus the normal priors of direct effects and shared loadings.
The L1 penalty of an edge is l1 * sqrt(1 + information) * (1 - prior_strength * confidence) * (factor of its regulator). The information of an edge,
sum_d a_source,d^2 / (s^2 + tau^2) with a the network part of the prediction, is the precision with which the screen determines it, so that `l1` is a
threshold in standard errors, the same for genes of any scale. tau_g^2, the information and the regulator factors are renewed every 25 steps.

Adam gives few exact zeros and the threshold moves with its step: the number of nonzero edges is no estimate of sparsity.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from causcade.causal.cells import CellBatch, CellStream
from causcade.causal.operator import Pattern, low_rank_values, neumann_sum
from causcade.causal.penalties import l1_ball_threshold, source_factor
from causcade.causal.problem import Problem, fingerprint
from causcade.causal.spectral import POWER_STEPS, SpectralProbe, exact_radius, log_growth
from causcade.config import CausalConfig
from causcade.errors import InputError
from causcade.files import replacing
from causcade.ranks import ALONE, Ranks
from causcade.runtime import Progress
from causcade.stopping import Stopped, stop_requests

__all__ = ["Trained", "train"]

logger = logging.getLogger("causcade")

REFRESH_STEPS = 25
CHECKPOINT_STEPS = 50
CHECK_STEPS = 50  # between comparisons of the radius with ARPACK
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
SHARED_SD = 0.5  # prior standard deviation of a shared loading
START_TAU, MIN_TAU_SHARE, MAX_TAU = 0.06, 0.3, 1.0  # the least tau is a share of the median standard error
LOW_RANK_START = 0.3
FINAL_POWER_STEPS = 200
PROJECTION_ROUNDS = 6
MAX_LOG_STEP = 0.25  # of the logarithm of the radius in one round; a gradient tells little further away
NEAR_BOUND = 1.01  # what is left beyond the bound is scaled away
MAX_OFF_TARGET = 0.2  # of the sum of direct effects on listed targets: beyond it, effects beside them stand in for edges


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Result of :func:`train`, on the CPU: edge values, information and L1 factors [E], direct effects [S], shared loadings [F, G], tau [G]."""

    value_E: Tensor
    information_E: Tensor
    direct_S: Tensor
    loading_FG: Tensor
    tau_G: Tensor
    spectral_radius: float
    metrics: list[dict[str, float]] = field(default_factory=list)


def train(
    problem: Problem,
    num_genes: int,
    settings: CausalConfig,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
    ranks: Ranks = ALONE,
    cells: CellStream | None = None,
) -> Trained:
    """Fit W, the direct effects and the shared loadings.

    Parameters
    ----------
    problem
        Data of the fit.
    num_genes
        Length of the gene axis.
    settings
        Section `causal`.
    seed
        Of the first values, edge dropout and the order of perturbations; equal on all ranks.
    device
        Where to compute.
    checkpoint
        File to save the state to and to resume from. A state of other data or settings is left behind by a job that was killed before they changed:
        the fit then starts anew, and the log says so. The file is left for the caller to remove.
    ranks
        The processes that make this fit; each calls with equal arguments.
    cells
        Cells to fit instead of the effects; starting values, tau and penalties come from the effects all the same.

    Raises
    ------
    InputError
        If the loss is not finite.
    Stopped
        After SIGTERM or SIGUSR1, when the state is saved.
    """
    trainer = _Trainer(problem, num_genes, settings, seed, device, ranks=ranks, cells=cells)
    if checkpoint is not None and checkpoint.exists():
        trainer.load(checkpoint)
    progress = Progress(settings.num_steps, "steps")
    progress.done = trainer.step
    with stop_requests() as is_asked:
        while trainer.step < settings.num_steps:
            trainer.advance()
            progress.advance()
            stops = ranks.any(flag=is_asked()) and trainer.step < settings.num_steps
            if trainer.step % CHECK_STEPS == 0 and trainer.step < settings.num_steps:
                trainer.check(POWER_STEPS)
            if trainer.step % CHECKPOINT_STEPS == 0 or trainer.step == settings.num_steps or stops:
                trainer.save(checkpoint)
            if stops:
                raise Stopped(f"causal: stopped after step {trainer.step} of {settings.num_steps}. Run again to go on from there.")
    return trainer.finish()


class _Trainer:
    """State of a fit, and one step of it."""

    def __init__(
        self,
        problem: Problem,
        num_genes: int,
        settings: CausalConfig,
        seed: int,
        device: torch.device,
        *,
        ranks: Ranks = ALONE,
        cells: CellStream | None = None,
    ) -> None:
        self.settings, self.step, self.metrics = settings, 0, list[dict[str, float]]()
        self.ranks, self.cells = ranks, cells
        self.fingerprint = fingerprint(problem, settings, seed)
        self.generator = torch.Generator().manual_seed(seed)  # on the CPU, so that the draws do not depend on the device
        self.pattern = Pattern(problem.target_E, problem.source_E, num_genes, device)
        self.device = device
        self._place(problem)
        self.parameters = self._start(problem)
        self.moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in self.parameters.items()}
        self.tau2_G1 = torch.full((num_genes, 1), START_TAU**2, device=device)
        self.information_E = torch.zeros(self.pattern.num_edges, device=device)
        self.l1_E = torch.zeros(self.pattern.num_edges, device=device)
        self.l1_direct_S = torch.zeros(len(problem.start_S), device=device)
        self.probe = SpectralProbe(num_genes, self.generator, device)
        self.num_projected = self.num_bounded = 0

    def _place(self, problem: Problem) -> None:
        """Move the data to the device."""

        def as_tensor(array: npt.NDArray[Any]) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(array), device=self.device)

        self.effect_GD, self.se2_GD = as_tensor(problem.effect_GD), as_tensor(problem.se_GD) ** 2
        self.free_GD = as_tensor(~problem.is_target_GD).float()
        self.observed_GD = as_tensor(~problem.is_hidden_GD) * as_tensor(problem.weight_D)
        self.strength_FD = as_tensor(problem.strength_DF.T)
        self.gene_S, self.drug_S = as_tensor(problem.support_gene_S), as_tensor(problem.support_drug_S)
        self.anchor_S, self.anchor_precision_S = as_tensor(problem.anchor_S), as_tensor(problem.anchor_precision_S)
        has_target_D = np.asarray(problem.is_target_GD.any(axis=0))  # without one, all effects have to be learnt
        self.is_beside_S = as_tensor(~problem.support_is_target_S & has_target_D[problem.support_drug_S])
        self.is_target_S, self.weight_S = as_tensor(problem.support_is_target_S), as_tensor(problem.weight_D)[self.drug_S]
        self.penalty_share_E = 1 - self.settings.prior_strength * as_tensor(problem.confidence_E)
        self.least_tau2 = float((MIN_TAU_SHARE * np.median(problem.se_GD)) ** 2)
        self.scale = 1.0 / self.effect_GD.numel()

    def _start(self, problem: Problem) -> dict[str, Tensor]:
        num_genes, rank = self.pattern.num_genes, self.settings.rank
        parameters = {
            "direct_S": torch.as_tensor(problem.start_S, device=self.device).clone(),
            "loading_FG": torch.zeros(len(self.strength_FD), num_genes, device=self.device),
        }
        if self.settings.parameters == "per_edge":
            parameters["value_E"] = torch.zeros(self.pattern.num_edges, device=self.device)
        else:
            for name in ("left_GR", "right_GR"):
                parameters[name] = (torch.randn(num_genes, rank, generator=self.generator) * LOW_RANK_START / rank**0.5).to(self.device)
        return {name: value.requires_grad_() for name, value in parameters.items()}

    def values(self) -> Tensor:
        """W on the edges, [E]."""
        if self.settings.parameters == "per_edge":
            return self.parameters["value_E"]
        return low_rank_values(self.parameters["left_GR"], self.parameters["right_GR"], self.pattern)

    def predict(self, value_E: Tensor, drugs: Tensor) -> tuple[Tensor, Tensor]:
        """Network part and whole prediction of some perturbations, both [G, D]."""
        direct_GD = torch.zeros_like(self.effect_GD).index_put((self.gene_S, self.drug_S), self.parameters["direct_S"])[:, drugs].contiguous()
        network_GD = neumann_sum(value_E, direct_GD, self.pattern, self.settings.num_hops)
        shared_GD = self.parameters["loading_FG"].T @ self.strength_FD[:, drugs]
        return network_GD, network_GD + shared_GD * self.free_GD[:, drugs]

    def loss(self, value_E: Tensor, drugs: Tensor) -> Tensor:
        """Loss of the effects of some perturbations."""
        _, predicted_GD = self.predict(value_E, drugs)
        weight_GD = self.observed_GD[:, drugs] / (self.se2_GD[:, drugs] + self.tau2_G1)
        return 0.5 * self.scale * (weight_GD * (self.effect_GD[:, drugs] - predicted_GD) ** 2).sum()

    def loss_of_cells(self, value_E: Tensor, batch: CellBatch) -> Tensor:
        """Loss of cells; over all cells it is that of the effects, plus a constant."""
        _, predicted_GD = self.predict(value_E, batch.drugs)
        weight_GD = self.observed_GD[:, batch.drugs] / (self.se2_GD[:, batch.drugs] + self.tau2_G1)
        residual_BG = batch.response_BG - batch.gain_B1 * predicted_GD.T.index_select(0, batch.place_B)
        return 0.5 * self.scale * (weight_GD.T.index_select(0, batch.place_B) * batch.weight_BG * residual_BG**2).sum()

    def priors(self) -> Tensor:
        """Return the normal priors of the direct effects and of the shared loadings."""
        anchor = (self.weight_S * self.anchor_precision_S * (self.parameters["direct_S"] - self.anchor_S) ** 2).sum()
        return 0.5 * self.scale * (anchor + (self.parameters["loading_FG"] ** 2).sum() / SHARED_SD**2)

    def advance(self) -> None:
        """One step."""
        settings = self.settings
        if self.step >= settings.l1_start and (self.step - settings.l1_start) % REFRESH_STEPS == 0:
            self.refresh()
        values_E = self.values()
        kept_E = (torch.rand(self.pattern.num_edges, generator=self.generator) >= settings.edge_dropout).to(self.device)
        data = self._data_loss(values_E * kept_E / (1 - settings.edge_dropout))
        smooth, l1_edges = self.priors(), self.scale * (self.l1_E * values_E.abs()).sum()
        penalty = smooth + l1_edges + self.scale * (self.l1_direct_S * self.parameters["direct_S"].abs()).sum()
        total = data
        if self.ranks.is_first:  # gradients are added over the processes; what all have in common counts once
            total = total + smooth
            if settings.parameters == "low_rank":  # its penalty cannot be a proximal step: an edge is no parameter there
                total = total + l1_edges
        gradients = torch.autograd.grad(total, list(self.parameters.values()))
        *summed, data = self.ranks.add([*gradients, data.detach()])
        data_loss, all_penalties = float(data), float(penalty.detach())
        if not np.isfinite(data_loss + all_penalties):
            raise InputError(f"causal: expected a finite loss, found {data_loss + all_penalties} at step {self.step}. Lower `causal.learning_rate`.")
        with torch.no_grad():
            for (name, value), gradient in zip(self.parameters.items(), summed, strict=True):
                self._adam(name, value, gradient)
            self.num_bounded += self._bound_off_target()
            radius = self.ranks.number_of_first(lambda: self.probe.measure(self.pattern, self.values()))
            projected = self._project(radius)
        self.num_projected += projected
        self.metrics.append(
            {
                "step": self.step, "loss": data_loss + all_penalties, "data_loss": data_loss, "penalty": all_penalties,
                "spectral_radius": radius, "projected": float(projected), "off_target_mass": self._off_target_mass(),
            }
        )  # fmt: skip
        self.step += 1

    def _data_loss(self, kept_value_E: Tensor) -> Tensor:
        """Loss of this process' part of the batch, scaled up to all data."""
        if self.cells is not None:
            return self.loss_of_cells(kept_value_E, self.cells.next()) * self.cells.num_batches
        num_drugs = self.effect_GD.shape[1]
        size = min(self.settings.batch_perturbations, num_drugs)
        drugs = torch.arange(num_drugs) if size == num_drugs else torch.randperm(num_drugs, generator=self.generator)[:size].sort().values
        return self.loss(kept_value_E, drugs[self.ranks.part(size)].to(self.device)) * (num_drugs / size)

    def _adam(self, name: str, value: Tensor, gradient: Tensor) -> None:
        """Adam step with cosine decay, then soft threshold in Adam's own metric where the parameter has an L1 penalty."""
        first, second = self.moments[name]
        first.mul_(BETA_1).add_(gradient, alpha=1 - BETA_1)
        second.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        rate = self.settings.learning_rate * 0.5 * (1 + float(np.cos(np.pi * self.step / self.settings.num_steps)))
        size = (second / (1 - BETA_2 ** (self.step + 1))).sqrt_().add_(EPSILON)
        value.sub_(rate / (1 - BETA_1 ** (self.step + 1)) * first / size)
        l1 = {"value_E": self.l1_E, "direct_S": self.l1_direct_S}.get(name)
        if l1 is not None and self.step >= self.settings.l1_start:
            value.copy_(torch.sign(value) * (value.abs() - rate * self.scale * l1 / size).clamp_min(0))

    def _project(self, radius: float) -> bool:
        """Bring the spectral radius to its bound by the least change of the parameters of W; whether it was beyond.

        To first order, the least change is along the gradient of the radius: it falls on the edges of the cycles that are too strong. Scaling
        all of W would take from every edge, at every step, what many small edges together add to one mode.
        """
        was_beyond, bound = radius > self.settings.max_spectral_radius, self.settings.max_spectral_radius
        for _ in range(PROJECTION_ROUNDS):
            if radius <= NEAR_BOUND * bound:
                break
            weights = [value for name, value in self.parameters.items() if name not in ("direct_S", "loading_FG")]
            with torch.enable_grad():
                gradients = torch.autograd.grad(log_growth(self.values(), self.probe.vector_G1, self.pattern), weights)
            self.ranks.take_from_first(gradients)
            square = float(sum((gradient**2).sum() for gradient in gradients))
            for value, gradient in zip(weights, gradients, strict=True):
                value.sub_(gradient, alpha=min(float(np.log(radius / bound)), MAX_LOG_STEP) / max(square, EPSILON))
            radius = self.ranks.number_of_first(lambda: self.probe.measure(self.pattern, self.values()))
        self._shrink_to_bound(radius)
        return was_beyond

    def _shrink_to_bound(self, radius: float) -> bool:
        """Scale the parameters of W if its spectral radius is beyond the bound; whether it was."""
        bound = self.settings.max_spectral_radius
        if radius <= bound:
            return False
        if self.settings.parameters == "per_edge":
            self.parameters["value_E"].mul_(bound / radius)
        else:
            for name in ("left_GR", "right_GR"):
                self.parameters[name].mul_((bound / radius) ** 0.5)
        return True

    @torch.no_grad()
    def check(self, num_steps: int) -> float:
        """Compare power steps with ARPACK, shrink W where they missed something, and tell how often the bound was met; the radius after that.

        Where ARPACK finds no eigenvalue, that of the power steps counts.
        """
        self.ranks.check_equal(list(self.parameters.values()))
        radius = self.ranks.number_of_first(lambda: self.probe.measure(self.pattern, self.values(), num_steps=num_steps))
        exact = self.ranks.number_of_first(lambda: exact_radius(self.pattern, self.values(), start_G1=self.probe.vector_G1))
        logger.info(
            "step %d: spectral radius %.4f by power steps, %.4f by ARPACK; its bound was met in %d of %d steps",
            self.step, radius, exact, self.num_projected, self.step,
        )  # fmt: skip
        if np.isfinite(exact):
            self.metrics[-1]["arpack_radius"] = radius = exact
        return self.settings.max_spectral_radius if self._shrink_to_bound(radius) else radius

    @torch.no_grad()
    def refresh(self) -> None:
        """Renew tau, the information of each edge, and the L1 weights."""
        value_E = self.values()
        network_GD, predicted_GD = self.predict(value_E, torch.arange(self.effect_GD.shape[1], device=self.device))
        counted_GD = self.observed_GD * self.free_GD
        excess_GD = (self.effect_GD - predicted_GD) ** 2 - self.se2_GD
        estimate_G1 = (excess_GD * counted_GD).sum(dim=1, keepdim=True) / counted_GD.sum(dim=1, keepdim=True).clamp_min(1)
        self.tau2_G1 = (0.5 * self.tau2_G1 + 0.5 * estimate_G1).clamp(self.least_tau2, MAX_TAU**2)
        precision_GD = 1 / (self.se2_GD + self.tau2_G1)
        self.information_E = self.pattern.sampled_product(counted_GD * precision_GD, network_GD**2)
        z_E = value_E.abs() * self.information_E.sqrt()
        self.l1_E = (
            self.settings.l1
            * (self.information_E + 1).sqrt()
            * self.penalty_share_E
            * source_factor(z_E, self.pattern, self.settings.source_hierarchy)
        )
        self.l1_direct_S = self.settings.l1_direct * precision_GD[self.gene_S, self.drug_S].sqrt() * self.weight_S * ~self.is_target_S
        self.ranks.take_from_first([self.tau2_G1, self.information_E, self.l1_E, self.l1_direct_S])  # sums on a GPU differ in their last digits

    def _bound_off_target(self) -> bool:
        """Keep direct effects beside listed targets within a share of those on them, by a soft threshold; whether it was needed."""
        direct_S = self.parameters["direct_S"]
        radius = MAX_OFF_TARGET * float((direct_S.abs() * self.is_target_S).sum())
        threshold = self.ranks.number_of_first(lambda: l1_ball_threshold((direct_S.abs() * self.is_beside_S).detach(), radius))
        if threshold == 0.0:
            return False
        direct_S.copy_(torch.where(self.is_beside_S, torch.sign(direct_S) * (direct_S.abs() - threshold).clamp_min(0), direct_S))
        return True

    def _off_target_mass(self) -> float:
        """Sum of direct effects beside listed targets of a perturbation, as a share of that on them (0 where there is no support beside them)."""
        size_S = self.parameters["direct_S"].detach().abs()
        on = float((size_S * self.is_target_S).sum())
        off = float((size_S * self.is_beside_S).sum())
        return off / on if on > 0 else 0.0

    def finish(self) -> Trained:
        """Check the bound with many power steps, renew the information, and hand out the result."""
        radius = self.check(FINAL_POWER_STEPS)
        if self.num_bounded:
            logger.info("direct effects beside the targets met their bound in %d of %d steps", self.num_bounded, self.step)
        self.refresh()
        return Trained(
            value_E=self.values().detach().cpu(), information_E=self.information_E.cpu(), direct_S=self.parameters["direct_S"].detach().cpu(),
            loading_FG=self.parameters["loading_FG"].detach().cpu(), tau_G=self.tau2_G1.sqrt().squeeze(1).cpu(), spectral_radius=radius,
            metrics=self.metrics,
        )  # fmt: skip

    def save(self, path: Path | None) -> None:
        """Write everything that the next step depends on; the first process writes."""
        if path is None or not self.ranks.is_first:
            return
        state: dict[str, Any] = {
            name: getattr(self, name) for name in ("fingerprint", "step", "num_projected", "num_bounded", "metrics", *_STATE_TENSORS)
        }
        state |= {"parameters": self.parameters, "moments": self.moments, "generator": self.generator.get_state()}
        state |= {"probe": self.probe.vector_G1, "probe_is_warm": self.probe.is_warm}
        state["position"] = None if self.cells is None else (self.cells.epoch, self.cells.position)
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Resume from a file of :meth:`save`; start anew where it is of other data or settings."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["fingerprint"] != self.fingerprint:
            logger.warning("%s: the checkpoint is of other data or settings; the fit starts anew", path)
            return
        for name in ("step", "num_projected", "num_bounded", "metrics"):
            setattr(self, name, state[name])
        for name in _STATE_TENSORS:
            setattr(self, name, state[name].to(self.device))
        self.parameters = {name: value.detach().to(self.device).requires_grad_() for name, value in state["parameters"].items()}
        self.moments = {name: (first.to(self.device), second.to(self.device)) for name, (first, second) in state["moments"].items()}
        self.generator.set_state(state["generator"])
        self.probe.vector_G1, self.probe.is_warm = state["probe"].to(self.device), state["probe_is_warm"]
        if self.cells is not None:
            self.cells.go_to(*state["position"])
        logger.info("resumed from step %d of %d", self.step, self.settings.num_steps)


_STATE_TENSORS = ("tau2_G1", "information_E", "l1_E", "l1_direct_S")
