"""A fitted causal module: its values, what it predicts, and its files.

Axes: G genes, D perturbations, C candidate edges (in the order of the table of candidates), N nuisance edges, S direct effects, F shared factors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from causcade.causal.problem import Problem
from causcade.causal.training import Trained
from causcade.errors import InputError
from causcade.files import write_parquet, write_tensors, write_text
from causcade.responses import HELD_OUT_COLUMNS

__all__ = ["CausalFit", "EdgeWeights", "Response", "assemble_fit", "empty_fit", "read_fit", "read_weights", "write_fit"]

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]


class EdgeWeights(NamedTuple):
    """W on the candidate edges, and the same in standard errors (what ranks edges), both [C] float32."""

    weight: FloatArray
    score: FloatArray


class Response(NamedTuple):
    """Predicted response of perturbations by part; `hops[k]` is W^k d [D, G], `hops[0]` the direct effect; `shared` [D, G]."""

    hops: list[FloatArray]
    shared: FloatArray

    @property
    def network(self) -> FloatArray:
        """Direct and propagated part, [D, G]."""
        return np.asarray(np.sum(self.hops, axis=0), dtype=np.float32)

    @property
    def total(self) -> FloatArray:
        """Everything, [D, G]."""
        return self.network + self.shared


@dataclass(frozen=True, kw_only=True)
class CausalFit:
    """Values of a fit.

    Attributes
    ----------
    weight_C, information_C
        W on the candidate edges, and the precision with which the data determine each; ``|weight| * sqrt(information)`` ranks edges.
    target_C, source_C
        Positions of the candidate edges on the gene axis.
    nuisance_weight_N, nuisance_target_N, nuisance_source_N
        Edges outside the candidates that the fit also uses. They belong to its prediction and are never reported as edges.
    perturbations
        Names of the D perturbations that took part.
    direct_gene_S, direct_drug_S, direct_S, direct_is_target_S, direct_is_seen_S
        Direct effects, at the top dose: place, size, whether a listed target, whether its own mRNA entered the loss.
    strength_DF, loading_FG
        Shared responses.
    tau_G
        Standard deviation of what the model leaves unexplained in each gene.
    dose_D3
        Lowest, half and top dose of each perturbation (:func:`causcade.responses.effects.gain_at`), NaN without doses, float64; for prediction.
    num_hops, spectral_radius, typical_effect
        Terms of the series beyond the direct effect; radius of the whole operator; size of a typical direct effect.
    metrics
        One record per step.
    held_out
        perturbation, gene, predicted, observed, training_mean; empty unless something was held out.
    """

    genes: list[str]
    perturbations: list[str]
    weight_C: FloatArray
    information_C: FloatArray
    target_C: IndexArray
    source_C: IndexArray
    nuisance_weight_N: FloatArray
    nuisance_target_N: IndexArray
    nuisance_source_N: IndexArray
    direct_gene_S: IndexArray
    direct_drug_S: IndexArray
    direct_S: FloatArray
    direct_is_target_S: npt.NDArray[np.bool_]
    direct_is_seen_S: npt.NDArray[np.bool_]
    strength_DF: FloatArray
    loading_FG: FloatArray
    tau_G: FloatArray
    num_hops: int
    spectral_radius: float
    typical_effect: float
    dose_D3: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    metrics: list[dict[str, float]] = field(default_factory=list)
    held_out: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=HELD_OUT_COLUMNS))

    @property
    def score_C(self) -> FloatArray:
        """Signed weight in units of its standard error: weight * sqrt(information)."""
        return np.asarray(self.weight_C * np.sqrt(self.information_C), dtype=np.float32)

    @cached_property
    def operator(self) -> sparse.csr_matrix:
        """W with its nuisance edges, rows are targets, [G, G] sparse."""
        values = np.concatenate([self.weight_C, self.nuisance_weight_N])
        rows, columns = np.concatenate([self.target_C, self.nuisance_target_N]), np.concatenate([self.source_C, self.nuisance_source_N])
        return sparse.csr_matrix((values, (rows, columns)), shape=(len(self.genes),) * 2)

    @cached_property
    def candidate_operator(self) -> sparse.csr_matrix:
        """W on the candidate edges only, [G, G] sparse."""
        return sparse.csr_matrix((self.weight_C, (self.target_C, self.source_C)), shape=(len(self.genes),) * 2)

    @property
    def direct_DG(self) -> FloatArray:
        """Direct effects, dense."""
        direct_DG = np.zeros((len(self.perturbations), len(self.genes)), np.float32)
        direct_DG[self.direct_drug_S, self.direct_gene_S] = self.direct_S
        return direct_DG

    def propagate(self, direct_DG: FloatArray, *, candidates_only: bool = False, fixed: Sequence[int] = ()) -> list[FloatArray]:
        """W^k d for k = 0..num_hops, each [D, G]; nothing reaches the genes at positions `fixed`, as if W had no edge to them."""
        operator = self.candidate_operator if candidates_only else self.operator
        hops = [np.asarray(direct_DG, dtype=np.float32)]
        for _ in range(self.num_hops):
            hops.append(np.asarray((operator @ hops[-1].T).T, dtype=np.float32))
            hops[-1][:, list(fixed)] = 0
        return hops

    @property
    def is_target_DG(self) -> npt.NDArray[np.bool_]:
        """Listed targets, dense."""
        is_target_DG = np.zeros((len(self.perturbations), len(self.genes)), bool)
        is_target_DG[self.direct_drug_S[self.direct_is_target_S], self.direct_gene_S[self.direct_is_target_S]] = True
        return is_target_DG

    @property
    def shared_DG(self) -> FloatArray:
        """Shared responses, dense; they leave out listed targets, as the fit does."""
        return np.where(self.is_target_DG, np.float32(0), self.strength_DF @ self.loading_FG)

    def predict(self) -> Response:
        """Predicted responses of the perturbations of the fit, by part."""
        return Response(self.propagate(self.direct_DG), self.shared_DG)

    def direct_effects(self) -> pd.DataFrame:
        """Table of direct effects: perturbation, gene, direct_effect, is_target, is_seen; zeros outside listed targets are left out."""
        table = pd.DataFrame(
            {
                "perturbation": np.asarray(self.perturbations, dtype=object)[self.direct_drug_S],
                "gene": np.asarray(self.genes, dtype=object)[self.direct_gene_S],
                "direct_effect": self.direct_S,
                "is_target": self.direct_is_target_S,
                "is_seen": self.direct_is_seen_S,
            }
        )
        kept = table[table["is_target"] | (table["direct_effect"] != 0)]
        return kept.sort_values(["perturbation", "gene"], ignore_index=True)


def assemble_fit(problem: Problem, trained: Trained, genes: list[str], num_hops: int) -> CausalFit:
    """Put the result of training into the order of the candidates."""
    value_E, information_E = trained.value_E.numpy(), trained.information_E.numpy()
    is_nuisance_E = np.ones(len(value_E), dtype=bool)
    is_nuisance_E[problem.candidate_place_C] = False
    place_C = problem.candidate_place_C
    return CausalFit(
        genes=genes, perturbations=problem.perturbations, weight_C=value_E[place_C], information_C=information_E[place_C],
        target_C=problem.target_E[place_C], source_C=problem.source_E[place_C], nuisance_weight_N=value_E[is_nuisance_E],
        nuisance_target_N=problem.target_E[is_nuisance_E], nuisance_source_N=problem.source_E[is_nuisance_E],
        direct_gene_S=problem.support_gene_S, direct_drug_S=problem.support_drug_S, direct_S=trained.direct_S.numpy(),
        direct_is_target_S=problem.support_is_target_S,
        direct_is_seen_S=problem.support_is_target_S & ~problem.is_hidden_GD[problem.support_gene_S, problem.support_drug_S],
        strength_DF=problem.strength_DF, loading_FG=trained.loading_FG.numpy(), tau_G=trained.tau_G.numpy(), num_hops=num_hops,
        spectral_radius=trained.spectral_radius, typical_effect=problem.typical_effect, metrics=trained.metrics,
    )  # fmt: skip


def empty_fit(genes: list[str], target_C: IndexArray, source_C: IndexArray, num_hops: int) -> CausalFit:
    """Fit of a screen that says nothing about the network: every weight is 0."""
    zeros, none, index = np.zeros(len(target_C), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    no = np.zeros(0, bool)
    return CausalFit(
        genes=genes, perturbations=[], weight_C=zeros, information_C=zeros, target_C=target_C, source_C=source_C, nuisance_weight_N=none,
        nuisance_target_N=index, nuisance_source_N=index, direct_gene_S=index, direct_drug_S=index, direct_S=none, direct_is_target_S=no,
        direct_is_seen_S=no, strength_DF=np.zeros((0, 0), np.float32), loading_FG=np.zeros((0, len(genes)), np.float32),
        tau_G=np.zeros(len(genes), np.float32), num_hops=num_hops, spectral_radius=0.0, typical_effect=0.0,
    )  # fmt: skip


_FACTS = ("genes", "perturbations", "num_hops", "spectral_radius", "typical_effect")
_ARRAYS = {
    "weight": "weight_C", "information": "information_C", "edge_target": "target_C", "edge_source": "source_C",
    "nuisance_weight": "nuisance_weight_N", "nuisance_target": "nuisance_target_N", "nuisance_source": "nuisance_source_N",
    "direct_gene": "direct_gene_S", "direct_perturbation": "direct_drug_S", "direct": "direct_S", "direct_is_target": "direct_is_target_S",
    "direct_is_seen": "direct_is_seen_S", "shared_strength": "strength_DF", "shared_loading": "loading_FG", "tau": "tau_G", "dose": "dose_D3",
}  # fmt: skip


def write_fit(fit: CausalFit, folder: Path) -> None:
    """Write model.safetensors, direct_effects.parquet, metrics.jsonl and, where something was held out, held_out.parquet.

    Tensor `weight` is W on the candidate edges in the order of the table, `score` the same in standard errors.
    """
    tensors = {name: np.ascontiguousarray(getattr(fit, attribute)) for name, attribute in _ARRAYS.items()} | {"score": fit.score_C}
    facts = {name: getattr(fit, name) for name in _FACTS}
    write_tensors(folder / "model.safetensors", tensors, {"fit": json.dumps(facts)})  # one key: safetensors keeps several in no fixed order
    write_parquet(folder / "direct_effects.parquet", fit.direct_effects())
    write_text(folder / "metrics.jsonl", "".join(json.dumps(record, sort_keys=True) + "\n" for record in fit.metrics))
    if len(fit.held_out):
        write_parquet(folder / "held_out.parquet", fit.held_out)


def read_weights(folder: Path) -> EdgeWeights:
    """Read W and the standardised W of a fit."""
    from safetensors import safe_open

    with safe_open(_model_file(folder), framework="numpy") as file:
        return EdgeWeights(file.get_tensor("weight"), file.get_tensor("score"))


def read_fit(folder: Path) -> CausalFit:
    """Read a fit, without the table of held-out responses."""
    from safetensors import safe_open

    with safe_open(_model_file(folder), framework="numpy") as file:
        there = set(file.keys())  # fits of older versions have no doses
        arrays = {attribute: file.get_tensor(name) for name, attribute in _ARRAYS.items() if name in there or name != "dose"}
        facts = json.loads(file.metadata()["fit"])
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return CausalFit(**facts, **arrays, metrics=metrics)


def _model_file(folder: Path) -> Path:
    path = Path(folder) / "model.safetensors"
    if not path.exists():
        raise InputError(f"{path}: expected the values of a fit, found no such file. Run the stage `causal` first.")
    return path
