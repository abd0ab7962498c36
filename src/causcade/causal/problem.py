"""What a fit is made of: measured effects, the entries that enter the loss, direct effects that may differ from zero, and edges.

Axes: G genes, D perturbations, E edges (candidates and nuisance), S entries of the direct effects, F shared factors.

Everything here is computed from the data of the fit, so a null or a bootstrap decides anew which targets are seen and how strong a typical hit is.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.code_digest import code_digest
from causcade.config import CausalConfig
from causcade.responses import DrugEffects, fit_shared_response, gene_positions

__all__ = ["Problem", "fingerprint", "make_problem"]

logger = logging.getLogger("causcade")

SEEN_Z = 3.0  # a listed target this many standard errors off in the listed direction: the perturbation acts on mRNA
HIDDEN_Z = 2.5  # below it, in a perturbation without such a target, the target is taken to act through its activity only
MIN_LINKS = 5  # links from which a typical effect is estimated
DEFAULT_EFFECT = 1.0
ANCHOR_SPREAD = 0.7  # standard deviation of a direct effect, as a share of the typical one

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Data of one fit; arrays over perturbations hold only those that take part.

    Attributes
    ----------
    effect_GD, se_GD
        Measured effects and their standard errors.
    is_target_GD, is_hidden_GD
        Listed targets, and those whose own mRNA is left out because the perturbation acts on activity.
    weight_D
        Multiplicity of a perturbation.
    strength_DF
        Strength of the shared responses.
    support_gene_S, support_drug_S, anchor_S, anchor_precision_S, start_S, support_is_target_S
        Entries where a direct effect may be: their place, mean and precision of the normal prior (precision 0 outside listed targets, which
        have an L1 penalty instead), first value, and whether they are listed targets.
    typical_effect
        Size of a typical direct effect (mu), in x.
    target_E, source_E, confidence_E
        Edges sorted by target and source; prior confidence.
    candidate_place_C
        Place of each candidate edge, in the order given, among the edges; the others are nuisance edges.
    perturbations
        Names of the perturbations that take part.
    """

    effect_GD: FloatArray
    se_GD: FloatArray
    is_target_GD: npt.NDArray[np.bool_]
    is_hidden_GD: npt.NDArray[np.bool_]
    weight_D: FloatArray
    strength_DF: FloatArray
    support_gene_S: IndexArray
    support_drug_S: IndexArray
    anchor_S: FloatArray
    anchor_precision_S: FloatArray
    start_S: FloatArray
    support_is_target_S: npt.NDArray[np.bool_]
    typical_effect: float
    target_E: IndexArray
    source_E: IndexArray
    confidence_E: FloatArray
    candidate_place_C: IndexArray
    perturbations: list[str]


def make_problem(effects: DrugEffects, edges: pd.DataFrame, settings: CausalConfig) -> Problem | None:
    """Collect the data of a fit; None when no perturbation has a target in the panel and unknown targets are not learnt."""
    target_C, source_C = gene_positions(edges, effects.genes)
    shared = fit_shared_response(effects)
    listed_D = effects.num_targets_D > 0
    take_D = listed_D if settings.unknown_targets == "exclude" else np.ones_like(listed_D)
    if not take_D.any():
        return None
    kept = effects.take(take_D)
    sign_GD, is_target_GD = kept.sign_DG.T.astype(np.float32), kept.is_target_DG.T
    effect_GD, se_GD = np.ascontiguousarray(kept.effect_DG.T), np.ascontiguousarray(kept.se_DG.T)
    weight_D = kept.table["weight"].to_numpy(np.float32)
    typical_effect = _typical_effect(sign_GD * effect_GD, se_GD, is_target_GD, weight_D)
    is_hidden_GD = _hidden(sign_GD * effect_GD / se_GD, is_target_GD & (sign_GD != 0))
    logger.info(
        "%d perturbations, %d listed targets of %d genes (%d act on activity only), typical effect %.2f",
        len(kept.table), is_target_GD.sum(), is_target_GD.any(axis=1).sum(), is_hidden_GD.sum(), typical_effect,
    )  # fmt: skip
    if settings.nuisance_edges:
        target_E, source_E, place_C = _with_nuisance(target_C, source_C, np.flatnonzero(is_target_GD.any(axis=1)), len(effects.genes))
    else:
        target_E, source_E, place_C = _sorted_edges(target_C, source_C, len(effects.genes))
    confidence_E = np.zeros(len(target_E), np.float32)
    confidence_E[place_C] = edges["prior_confidence"].fillna(0.0).to_numpy(np.float32)
    support_GD = _support(is_target_GD, target_C, source_C, settings)
    gene_S, drug_S = (index.astype(np.int64) for index in np.nonzero(support_GD))
    return Problem(
        effect_GD=effect_GD, se_GD=se_GD, is_target_GD=is_target_GD, is_hidden_GD=is_hidden_GD, weight_D=weight_D,
        strength_DF=shared.strength_DF[take_D].astype(np.float32), support_gene_S=gene_S, support_drug_S=drug_S,
        anchor_S=(sign_GD * typical_effect)[gene_S, drug_S].astype(np.float32),
        anchor_precision_S=_anchor_precision(sign_GD, is_target_GD, typical_effect)[gene_S, drug_S],
        start_S=np.where(is_hidden_GD, sign_GD * typical_effect, effect_GD * is_target_GD)[gene_S, drug_S].astype(np.float32),
        support_is_target_S=is_target_GD[gene_S, drug_S], typical_effect=typical_effect, target_E=target_E, source_E=source_E,
        confidence_E=confidence_E, candidate_place_C=place_C, perturbations=kept.table["perturbation"].tolist(),
    )  # fmt: skip


def _typical_effect(signed_GD: FloatArray, se_GD: FloatArray, is_target_GD: npt.NDArray[np.bool_], weight_D: FloatArray) -> float:
    """Median size of the clear direct effects, in the listed direction; 1 where there are fewer than five."""
    clear_GD = is_target_GD & (signed_GD > SEEN_Z * se_GD)
    times = np.broadcast_to(weight_D.astype(np.int64), clear_GD.shape)[clear_GD]
    values = np.repeat(signed_GD[clear_GD], times)
    return float(np.median(values)) if clear_GD.sum() >= MIN_LINKS else DEFAULT_EFFECT


def _anchor_precision(sign_GD: FloatArray, is_target_GD: npt.NDArray[np.bool_], typical_effect: float) -> FloatArray:
    """Precision of the prior N(sign mu, (0.7 mu)^2) of a direct effect; a target of unknown sign has mean 0 and the same second moment."""
    variance_GD = (ANCHOR_SPREAD**2 + (sign_GD == 0)) * typical_effect**2
    return np.asarray(is_target_GD / variance_GD, dtype=np.float32)


def _hidden(z_GD: FloatArray, is_signed_GD: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Targets of a perturbation none of whose targets moves: it acts on activity.

    A target without a known sign is never hidden, since its direction cannot be judged.
    """
    any_seen_D = (is_signed_GD & (z_GD > SEEN_Z)).any(axis=0)
    return is_signed_GD & ~any_seen_D & (z_GD < HIDDEN_Z)


def _support(is_target_GD: npt.NDArray[np.bool_], target_C: IndexArray, source_C: IndexArray, settings: CausalConfig) -> npt.NDArray[np.bool_]:
    support_GD = is_target_GD.copy()
    if settings.support == "neighbourhood":
        for drug in range(is_target_GD.shape[1]):
            support_GD[target_C[is_target_GD[source_C, drug]], drug] = True
    support_GD[:, ~is_target_GD.any(axis=0)] = True  # nothing is known of these, so any gene may be hit
    return support_GD


def _sorted_edges(target_C: IndexArray, source_C: IndexArray, num_genes: int) -> tuple[IndexArray, IndexArray, IndexArray]:
    order = np.argsort(target_C * num_genes + source_C, kind="stable")
    place_C = np.empty_like(order)
    place_C[order] = np.arange(len(order))
    return target_C[order], source_C[order], place_C


def _with_nuisance(target_C: IndexArray, source_C: IndexArray, hit_J: IndexArray, num_genes: int) -> tuple[IndexArray, IndexArray, IndexArray]:
    """Candidates and all other pairs whose source is a listed target: these take up paths that no candidate offers, and are never reported."""
    every_key = (np.arange(num_genes)[:, None] * num_genes + hit_J).ravel()
    every_key = every_key[every_key // num_genes != every_key % num_genes]
    candidate_key = target_C * num_genes + source_C
    key_E = np.union1d(candidate_key, every_key)
    return key_E // num_genes, key_E % num_genes, np.searchsorted(key_E, candidate_key).astype(np.int64)


def fingerprint(problem: Problem, settings: CausalConfig, seed: int) -> str:
    """Digest of all that a fit depends on, its code included: a job may be killed before any of it changes."""
    digest = hashlib.sha256(f"{settings.model_dump_json()} {seed} {problem.perturbations} {code_digest('causal')}".encode())
    for one in fields(problem):
        value = getattr(problem, one.name)
        if isinstance(value, np.ndarray):
            digest.update(f"{one.name} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
