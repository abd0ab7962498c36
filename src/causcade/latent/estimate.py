"""The joint estimate: rounds of activities and edges, split over blocks of target genes.

Axes: G genes, D perturbations, J listed genes, T targets of a block, F shared factors, Q components of the slab.

Blocks are fitted by threads (they let others run while they compute), each on one of the devices. Between sweeps they exchange the expected number
of edges by source and by component of the slab; between rounds, the footprint of each perturbation, [J, J]. Sums over blocks are taken in the order
of the blocks, so that the number of workers changes nothing at all, and the size of blocks only the rounding.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from causcade.code_digest import code_digest
from causcade.config_latent import LatentConfig
from causcade.files import replacing
from causcade.latent.activities import ActivityData, Evidence, first_activities, first_variances, solve_activities
from causcade.latent.block import DRUGS_PER_CHUNK, SLAB_SD, BlockData, BlockSums, Prior, TargetBlock
from causcade.latent.problem import LatentProblem
from causcade.runtime import Progress

__all__ = ["Posterior", "estimate"]

logger = logging.getLogger("causcade")

BLOCK_GENES = 512
DRUGS_PER_SOLUTION = 4  # perturbations whose activities are solved for at once; it does not depend on the workers, nor do results
START_INCLUSION = 0.03
MIN_INCLUSION, MAX_INCLUSION = 5e-4, 0.5
MIN_SHARE, MAX_SHARE = 1e-3, 0.2  # of the mean probability of an edge over all sources
HIERARCHY_EDGES = 20.0  # pairs' worth of prior on the share of edges of a source
SLAB_EDGES = 10.0  # edges' worth of prior on the weights of the slab
SLAB_FROM, PRIOR_FROM = 2, 3  # sweeps of a round before the slab, and the priors and tau, are renewed

Float64 = npt.NDArray[np.float64]
T = TypeVar("T")
Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Result of :func:`estimate`, float64.

    Attributes
    ----------
    activity_DJ, activity_variance_DJ
        Latent activities.
    seen_DJ, listed_DJ
        Whether the mRNA was taken for a measurement of the activity, and which links for hits.
    edge_GJ, inclusion_GJ, log_odds_GJ, slab_mean_GJ
        Posterior mean of W, probability of an edge, its log odds (-inf where there can be none), and mean weight if there is one.
    tau2_G, loading_GF
        Unexplained variance; loadings of shared responses.
    inclusion_J
        Prior probability of an edge by source, as learnt.
    slab_variance
        Mean square of a weight, as learnt.
    """

    activity_DJ: Float64
    activity_variance_DJ: Float64
    seen_DJ: npt.NDArray[np.bool_]
    listed_DJ: npt.NDArray[np.bool_]
    edge_GJ: Float64
    inclusion_GJ: Float64
    log_odds_GJ: Float64
    slab_mean_GJ: Float64
    tau2_G: Float64
    loading_GF: Float64
    inclusion_J: Float64
    slab_variance: float


def estimate(
    problem: LatentProblem,
    settings: LatentConfig,
    *,
    candidate_GJ: npt.NDArray[np.bool_] | None = None,
    devices: Sequence[str] = ("cpu",),
    workers: int = 1,
    block_genes: int = BLOCK_GENES,
    checkpoint: Path | None = None,
) -> Posterior:
    """Fit activities and edges.

    Parameters
    ----------
    problem
        Data of the fit.
    settings
        Section `latent`.
    candidate_GJ
        Where edges may be, if pairs outside the candidates are not to be fitted; by default everywhere but on a gene itself.
    devices
        torch devices; blocks are dealt out to them in turn.
    workers
        Blocks fitted at a time.
    block_genes
        Target genes that are fitted together; bounds the memory of a worker.
    checkpoint
        File to save the state to after each round, and to resume from. A file of other data, settings or code is passed over, and the log says so.
    """
    with _Fit(problem, settings, candidate_GJ, devices, workers, block_genes) as fit:
        if checkpoint is not None:
            fit.load(checkpoint)
        progress = Progress(settings.num_rounds, "rounds")
        progress.done = fit.round
        while fit.round < settings.num_rounds:
            fit.advance()
            progress.advance()
            if checkpoint is not None:
                fit.save(checkpoint)
        return fit.posterior()


class _Fit:
    """State of a fit, and one round of it."""

    def __init__(
        self, problem: LatentProblem, settings: LatentConfig, candidate_GJ: npt.NDArray[np.bool_] | None, devices: Sequence[str], workers: int,
        block_genes: int,
    ) -> None:  # fmt: skip
        self.problem, self.settings, self.round = problem, settings, 0
        self.home = torch.device(devices[0])
        allowed_GJ = np.ones((problem.num_genes, len(problem.source_J)), bool) if candidate_GJ is None else candidate_GJ.copy()
        allowed_GJ[problem.source_J, np.arange(len(problem.source_J))] = False
        allowed_GJ[~problem.is_measured_G] = False
        self.allowed_J = self._tensor(allowed_GJ.sum(axis=0).astype(np.float64)).clamp_min(1)
        self.fingerprint, self.allowed_GJ = "", allowed_GJ
        self.targets = _parts(problem.num_genes, block_genes)
        self.blocks = [TargetBlock(self._data(part, allowed_GJ, torch.device(devices[i % len(devices)]))) for i, part in enumerate(self.targets)]
        source_J = problem.source_J
        self.links = ActivityData(
            self._tensor(problem.effect_DG[:, source_J]),
            self._tensor(problem.variance_DG[:, source_J]),
            self._tensor(problem.listed_DJ), self._tensor(problem.quiet_DJ), self._tensor(problem.sign_DJ),
            self._tensor(problem.seen_DJ),
            self._tensor(np.tile(problem.is_measured_G[source_J], (len(problem.seen_DJ), 1))), self._tensor(problem.fixed_DJ),
            problem.typical_effect, problem.direct_sd, problem.fixed_sd,
        )  # fmt: skip
        self.activity_DJ = first_activities(self.links)
        self.variance_DJ = first_variances(self.links)
        self.seen_DJ, self.listed_DJ = self.links.seen_DJ.clone(), self.links.listed_DJ.clone()
        self.undecided_D = self._tensor(problem.undecided_D)
        self.inclusion_J = torch.full_like(self.allowed_J, START_INCLUSION)
        self.slab_Q = torch.full((len(SLAB_SD),), 1 / len(SLAB_SD), dtype=torch.float64, device=self.home)
        # A worker computes on its own: threads inside an operation would wait for each other.
        self.pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) if workers > 1 else None

    def __enter__(self) -> _Fit:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def _tensor(self, array: npt.NDArray[Any], device: torch.device | None = None) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), device=device or self.home)

    def _data(self, part: slice, allowed_GJ: npt.NDArray[np.bool_], device: torch.device) -> BlockData:
        problem = self.problem
        return BlockData(
            effect_TD=self._tensor(problem.effect_DG[:, part].T, device), variance_TD=self._tensor(problem.variance_DG[:, part].T, device),
            weight_TD=self._tensor(problem.weight_DG[:, part].T, device), strength_DF=self._tensor(problem.strength_DF, device),
            allowed_TJ=self._tensor(allowed_GJ[part], device), is_listed_T=self._tensor(problem.column_G[part] >= 0, device),
            min_tau=problem.min_tau,
        )  # fmt: skip

    def _over(self, run: Callable[[Part], T], parts: Sequence[Part]) -> list[T]:
        """Results of all parts, in their order; the workers share them."""
        return list(map(run, parts)) if self.pool is None else list(self.pool.map(run, parts))

    def _gather(self, name: str) -> Tensor:
        """State of all blocks together, [G, ...]."""
        return torch.cat([getattr(block, name).to(self.home) for block in self.blocks])

    def advance(self) -> None:
        """One round."""
        if self.round > 0:
            self._renew_activities()
        takes_part_D = self._tensor(~self.problem.ambiguous_D | (self.round > 0))
        for block in self.blocks:
            block.takes_part_D = takes_part_D.to(block.edge_TJ.device)
        for sweep in range(self.settings.first_sweeps if self.round == 0 else self.settings.sweeps):
            self._sweep(sweep)
        self.round += 1

    def _sweep(self, sweep: int) -> None:
        prior = Prior(self.inclusion_J, self.slab_Q)

        def run(block: TargetBlock) -> BlockSums:
            there = block.edge_TJ.device
            activity_DJ, variance_DJ = self.activity_DJ.to(there), self.variance_DJ.to(there)
            return block.sweep(activity_DJ, variance_DJ, Prior(prior.inclusion_J.to(there), prior.slab_Q.to(there)), renew_tau=sweep >= PRIOR_FROM)

        sums = self._over(run, self.blocks)
        if sweep >= SLAB_FROM:
            slab_Q = SLAB_EDGES / len(SLAB_SD) + sum((part.slab_Q.to(self.home) for part in sums), torch.zeros_like(self.slab_Q))
            self.slab_Q = slab_Q / slab_Q.sum()
        if sweep >= PRIOR_FROM:
            edges_J = sum((part.edges_J.to(self.home) for part in sums), torch.zeros_like(self.inclusion_J))
            share = (edges_J.sum() / self.allowed_J.sum()).clamp(MIN_SHARE, MAX_SHARE)
            inclusion_J = (edges_J + HIERARCHY_EDGES * share) / (self.allowed_J + HIERARCHY_EDGES)
            self.inclusion_J = inclusion_J.clamp(MIN_INCLUSION, MAX_INCLUSION)

    def _renew_activities(self) -> None:
        source_J = self._tensor(self.problem.source_J)
        edge_JJ, tau2_J = self._gather("edge_TJ")[source_J], self._gather("tau2_T")[source_J]
        shared_DJ = self._tensor(self.problem.strength_DF) @ self._gather("loading_TF")[source_J].T
        process_J = tau2_J.clamp_min(self.problem.min_tau**2)
        for drugs in _parts(len(self.activity_DJ), DRUGS_PER_CHUNK):

            def run(block: TargetBlock, drugs: slice = drugs) -> tuple[Tensor, Tensor]:
                precision_dJJ, moment_dJ = block.footprint(drugs.start, drugs.stop)
                return precision_dJJ.to(self.home), moment_dJ.to(self.home)

            found = self._over(run, self.blocks)

            def solve(part: slice, start: int = drugs.start, found: list[tuple[Tensor, Tensor]] = found) -> None:
                some = slice(start + part.start, start + part.stop)
                precision_dJJ = sum((block[0][part] for block in found[1:]), found[0][0][part])
                moment_dJ = sum((block[1][part] for block in found[1:]), found[0][1][part])
                known = Evidence(edge_JJ, process_J, shared_DJ[some], precision_dJJ, moment_dJ)
                solution = solve_activities(self.links, some, known, self.undecided_D[some])
                self.activity_DJ[some], self.variance_DJ[some], self.seen_DJ[some], self.listed_DJ[some] = solution

            self._over(solve, _parts(drugs.stop - drugs.start, DRUGS_PER_SOLUTION))

    def posterior(self) -> Posterior:
        """Everything, on the CPU."""
        gathered = {name: self._gather(name).cpu().numpy() for name in TargetBlock.STATE}
        slab_variance = float((self.slab_Q.cpu() * torch.tensor(SLAB_SD, dtype=torch.float64) ** 2).sum())
        return Posterior(
            activity_DJ=self.activity_DJ.cpu().numpy(), activity_variance_DJ=self.variance_DJ.cpu().numpy(), seen_DJ=self.seen_DJ.cpu().numpy(),
            listed_DJ=self.listed_DJ.cpu().numpy(),
            edge_GJ=gathered["edge_TJ"], inclusion_GJ=gathered["inclusion_TJ"], log_odds_GJ=gathered["log_odds_TJ"],
            slab_mean_GJ=gathered["slab_mean_TJ"], tau2_G=gathered["tau2_T"], loading_GF=gathered["loading_TF"],
            inclusion_J=self.inclusion_J.cpu().numpy(), slab_variance=slab_variance,
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write all that the next round depends on."""
        state: dict[str, Any] = {name: self._gather(name) for name in TargetBlock.STATE}
        state |= {name: getattr(self, name) for name in _SHARED_STATE}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Resume from a file of :meth:`save`; start anew where there is none, or it is of other data, settings or code."""
        self.fingerprint = _fingerprint(self.problem, self.settings, self.allowed_GJ)
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["fingerprint"] != self.fingerprint:
            logger.warning("%s: the checkpoint is of other data or settings; the fit starts anew", path)
            return
        for name in _SHARED_STATE:
            value = state[name]
            setattr(self, name, value.to(self.home) if isinstance(value, Tensor) else value)
        for name in TargetBlock.STATE:
            for part, block in zip(self.targets, self.blocks, strict=True):
                setattr(block, name, state[name][part].clone().to(block.edge_TJ.device))
        logger.info("resumed after round %d of %d", self.round, self.settings.num_rounds)


def _parts(length: int, size: int) -> list[slice]:
    """Consecutive parts of so many, the last one shorter."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


_SHARED_STATE = ("fingerprint", "round", "activity_DJ", "variance_DJ", "seen_DJ", "listed_DJ", "inclusion_J", "slab_Q")


def _fingerprint(problem: LatentProblem, settings: LatentConfig, allowed_GJ: npt.NDArray[np.bool_]) -> str:
    """Digest of all that a fit depends on, its code included; not of how it is split."""
    digest = hashlib.sha256(f"{settings.model_dump_json()} {problem.perturbations} {code_digest('latent')}".encode())
    digest.update(np.packbits(allowed_GJ).tobytes())
    for one in fields(problem):
        value = getattr(problem, one.name)
        if isinstance(value, np.ndarray):
            digest.update(f"{one.name} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
