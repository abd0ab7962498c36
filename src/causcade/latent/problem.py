"""What a latent fit is made of, computed from the effects of perturbations alone; no curated edge enters.

Axes: D perturbations, G genes, J listed genes (at least one perturbation is listed to hit them), F shared factors.

A null or a bootstrap starts here, so that shared factors, seen targets and the typical effect are estimated anew.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from causcade.config_latent import LatentConfig
from causcade.responses import DrugEffects, fit_shared_response
from causcade.responses.composition import composition_profile, fit_composition
from causcade.responses.shared import MIN_PERTURBATIONS

__all__ = ["LatentProblem", "make_latent_problem"]

logger = logging.getLogger("causcade")

SEEN_Z = 3.0  # a listed target this many standard errors off in the listed direction: the perturbation acts on mRNA
HIDDEN_Z = 2.5  # below it, in a perturbation without such a target, the target is taken to act through its activity only
PRUNE_Z = 1.0  # below it, beside a target that is seen, a link is dropped if links are pruned
MIN_QUIET = 2  # quiet links of a gene from which it is a source
MIN_LINKS = 5  # links from which a typical effect is estimated
DEFAULT_EFFECT = 1.0
ONE_TARGET = 0.5  # share of the variance of a shared factor between perturbations, from which it is the effect of one target
MIN_HITS = 2  # perturbations of such a target
UNMEASURED = 1e3  # error of what was not measured, relative to the largest
DIRECT_SPREAD = 0.7  # standard deviation of a direct effect, as a share of the typical one
KNOCKOUT_SPREAD = 0.5  # that of a knockout, which leaves nothing of the gene
MIN_TAU_SHARE = 0.3  # the least unexplained standard deviation, as a share of the median standard error

Float64 = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LatentProblem:
    """Data of one fit.

    Attributes
    ----------
    effect_DG, variance_DG
        Effects less what composition does, and the squares of their standard errors; 0 and 1 where nothing was measured.
    composition_D, profile_G
        What composition does, as the product of the two (:mod:`causcade.responses.composition`).
    weight_DG
        Multiplicity of the perturbation where the effect takes part in the regression of the gene; 0 at listed targets and where nothing was
        measured.
    strength_DF
        Strength of the shared responses.
    source_J
        Places of the listed genes.
    listed_DJ, sign_DJ
        Links that are used; signs of these and of the quiet ones (0 where unknown).
    quiet_DJ
        Links of drugs to targets that never move, each beside another one that does: the drug may act on their activity, and what moves may follow
        them. The fit begins with them.
    seen_DJ
        Whether the mRNA of the gene is an observation of its activity.
    hidden_DG
        Listed targets whose mRNA is not looked at, by their own response.
    undecided_D
        Whether how a perturbation acts is left to the fit: on the mRNA of its targets, or on their activity.
    fixed_DJ
        Links of knockouts whose mRNA is not looked at: their activity is the typical effect with its spread, and is not fitted.
    ambiguous_D
        Whether some of its targets move and others do not; such a perturbation takes no part until the others have told what its targets do.
    typical_effect, direct_sd, fixed_sd
        Size of a typical direct effect, in x, its spread between links, and that between links of knockouts.
    min_tau
        Least standard deviation of what the model leaves unexplained.
    perturbations
        Names.
    is_measured_G
        Whether the gene is measured at all; a listed gene that is not has an activity, and no gene regulates it.
    """

    effect_DG: Float64
    variance_DG: Float64
    composition_D: Float64
    profile_G: Float64
    weight_DG: Float64
    strength_DF: Float64
    source_J: IndexArray
    listed_DJ: BoolArray
    quiet_DJ: BoolArray
    sign_DJ: Float64
    seen_DJ: BoolArray
    hidden_DG: BoolArray
    undecided_D: BoolArray
    fixed_DJ: BoolArray
    ambiguous_D: BoolArray
    typical_effect: float
    direct_sd: float
    fixed_sd: float
    min_tau: float
    perturbations: list[str]
    is_measured_G: BoolArray

    @property
    def num_genes(self) -> int:
        """Number of genes G."""
        return int(self.effect_DG.shape[1])

    @property
    def column_G(self) -> IndexArray:
        """Place of each gene among the listed ones; -1 where it is none."""
        column_G = np.full(self.num_genes, -1)
        column_G[self.source_J] = np.arange(len(self.source_J))
        return column_G


def make_latent_problem(effects: DrugEffects, settings: LatentConfig) -> LatentProblem | None:
    """Collect the data of a fit; None when no perturbation has a target on the gene axis.

    Perturbations without a target take part too: what moves in them tells how genes follow each other.
    """
    composition_D, profile_G = fit_composition(effects), composition_profile(effects)
    effects = replace(effects, effect_DG=(effects.effect_DG - np.outer(composition_D, profile_G)).astype(np.float32))
    error_DG = effects.se_DG.astype(np.float64)
    measured_DG = np.isfinite(effects.effect_DG) & np.isfinite(error_DG) & (error_DG > 0)
    effect_DG = np.where(measured_DG, effects.effect_DG, 0.0).astype(np.float64)
    variance_DG = np.where(measured_DG, error_DG, 1.0) ** 2
    sign_DG, z_DG = effects.sign_DG.astype(np.float64), np.where(measured_DG, effect_DG, 0.0) / np.sqrt(variance_DG)
    used_DG, is_drug_D = effects.is_target_DG, effects.table["kind"].eq("drug").to_numpy(bool)
    quiet_DG = np.zeros_like(used_DG)
    if settings.prune_links:
        used_DG = _pruned(used_DG, measured_DG, sign_DG, z_DG, is_drug_D)
        if settings.activity == "auto":
            quiet_DG = _quiet(effects.is_target_DG, measured_DG, sign_DG, z_DG, is_drug_D)
    if not used_DG.any():
        return None
    sign_DG = np.where(used_DG | quiet_DG, sign_DG, 0.0)
    signed_DG = used_DG & (sign_DG != 0)
    weight_D = effects.table["weight"].to_numpy(np.float64)
    typical = _typical_effect(sign_DG * effect_DG, signed_DG & (sign_DG * z_DG > SEEN_Z), weight_D)
    known_D = effects.table["kind"].isin(settings.known_kinds).to_numpy(bool)
    hidden_DG = _hidden(sign_DG * z_DG, signed_DG, used_DG, known_D, settings.activity)
    undecided_D = (signed_DG & measured_DG).any(axis=1) & ~known_D & (settings.activity == "auto")
    # Nothing but what it does would tell the size of such a hit, and only times the weights: a fit of both drifts.
    fixed_DG = hidden_DG & (known_D & effects.table["kind"].eq("knockout").to_numpy(bool))[:, None]
    clear_D = (signed_DG & (sign_DG * z_DG > SEEN_Z)).any(axis=1)
    still_D = ((effects.sign_DG * z_DG < HIDDEN_Z) & effects.is_target_DG & (effects.sign_DG != 0) & measured_DG).any(axis=1)
    source_J = np.flatnonzero((used_DG | quiet_DG).any(axis=0))
    logger.info(
        "%d perturbations, %d listed targets of %d genes (%d act on activity only), typical effect %.2f",
        len(effects.table), used_DG.sum(), len(source_J), hidden_DG.sum(), typical,
    )  # fmt: skip
    # A dropped link is a link no more, but what it does to its target stays out of the regression: it would stand out as an edge.
    weight_DG = (measured_DG & ~effects.is_target_DG) * weight_D[:, None]
    return LatentProblem(
        effect_DG=effect_DG, variance_DG=variance_DG, composition_D=composition_D, profile_G=profile_G, weight_DG=weight_DG,
        strength_DF=_shared_strengths(effects, measured_DG),
        source_J=source_J, listed_DJ=used_DG[:, source_J], quiet_DJ=quiet_DG[:, source_J],
        sign_DJ=sign_DG[:, source_J], seen_DJ=(measured_DG & ~hidden_DG)[:, source_J],
        hidden_DG=hidden_DG, undecided_D=undecided_D, fixed_DJ=fixed_DG[:, source_J],
        ambiguous_D=undecided_D & clear_D & still_D & ~quiet_DG.any(axis=1),
        typical_effect=typical, direct_sd=DIRECT_SPREAD * typical, fixed_sd=KNOCKOUT_SPREAD * typical,
        min_tau=MIN_TAU_SHARE * float(np.median(np.sqrt(variance_DG[measured_DG]))), perturbations=effects.table["perturbation"].tolist(),
        is_measured_G=effects.is_measured_G,
    )  # fmt: skip


def _shared_strengths(effects: DrugEffects, measured_DG: BoolArray) -> Float64:
    """Strengths of the shared responses; only as many as the number of different target sets allows, and none that is the effect of one target.

    What a few targets do, hit again and again, is a response that many perturbations share; a factor would take it from the network.
    """
    if not measured_DG.all():
        largest = float(effects.se_DG[measured_DG].max())
        error_DG = np.where(measured_DG, effects.se_DG, UNMEASURED * largest).astype(np.float32)
        effects = replace(effects, effect_DG=np.where(measured_DG, effects.effect_DG, 0).astype(np.float32), se_DG=error_DG)
    listed_DG = effects.is_target_DG[effects.num_targets_D > 0]
    num_different = len(np.unique(np.packbits(listed_DG, axis=1), axis=0)) + int((effects.num_targets_D == 0).sum())
    strength_DF = fit_shared_response(effects).strength_DF[:, : sum(num_different >= least for least in MIN_PERTURBATIONS)]
    share_F = [_share_of_one_target(strength_D, effects.is_target_DG, effects.table["weight"].to_numpy(np.float64)) for strength_D in strength_DF.T]
    return np.asarray(strength_DF[:, np.array(share_F, dtype=np.float64) < ONE_TARGET])


def _share_of_one_target(strength_D: Float64, is_target_DG: BoolArray, weight_D: Float64) -> float:
    """Largest share of the variance of a factor between perturbations that hitting one gene explains; of genes that at least two hit."""
    hits_DJ = is_target_DG[:, is_target_DG.sum(axis=0) >= MIN_HITS].astype(np.float64)
    centred_D = strength_D - np.average(strength_D, weights=weight_D)
    num, num_J = weight_D.sum(), weight_D @ hits_DJ
    # Between the perturbations that hit the gene and the others; the squares of the second follow from those of the first.
    between_J = np.divide(((weight_D * centred_D) @ hits_DJ) ** 2 * num, num_J * (num - num_J), out=np.zeros_like(num_J), where=num_J < num)
    total = float(weight_D @ centred_D**2)
    return float(between_J.max(initial=0.0)) / total if total > 0 else 0.0


def _pruned(is_target_DG: BoolArray, measured_DG: BoolArray, sign_DG: Float64, z_DG: Float64, is_drug_D: BoolArray) -> BoolArray:
    """Links without those of known sign that do not move beside one that does; those of a genetic perturbation are certain and stay.

    A target that is not measured stays too: nobody saw that it does not move.
    """
    moved_DG = sign_DG * z_DG
    has_seen_D1 = (is_target_DG & (moved_DG > SEEN_Z)).any(axis=1, keepdims=True) & is_drug_D[:, None]
    return np.asarray(is_target_DG & ~((sign_DG != 0) & measured_DG & (moved_DG < PRUNE_Z) & has_seen_D1), dtype=bool)


def _quiet(is_target_DG: BoolArray, measured_DG: BoolArray, sign_DG: Float64, z_DG: Float64, is_drug_D: BoolArray) -> BoolArray:
    """Links of drugs to genes that never move, each beside a gene that does.

    Where several drugs list such a gene, each beside another one that moves, the simpler story is that all act on its activity, and that what moves
    follows it. Where one and the same gene moves beside it, that gene is hit. A single link does not tell.
    """
    moved_DG = is_target_DG & (sign_DG * z_DG > SEEN_Z)
    beside_D1 = moved_DG.any(axis=1, keepdims=True) & is_drug_D[:, None]
    still_DG = is_target_DG & measured_DG & (sign_DG != 0) & (sign_DG * z_DG < HIDDEN_Z) & beside_D1
    quiet_DG: BoolArray = np.zeros(still_DG.shape, bool)
    for gene in np.flatnonzero((still_DG.sum(axis=0) >= MIN_QUIET) & ~(is_target_DG & ~still_DG).any(axis=0)):
        quiet_DG[:, gene] = still_DG[:, gene] & ~moved_DG[still_DG[:, gene]].all(axis=0).any()
    return quiet_DG


def _typical_effect(signed_DG: Float64, clear_DG: BoolArray, weight_D: Float64) -> float:
    """Median size of the clear direct effects; 1 where there are fewer than five."""
    if clear_DG.sum() < MIN_LINKS:
        return DEFAULT_EFFECT
    times = np.broadcast_to(weight_D[:, None].astype(np.int64), clear_DG.shape)[clear_DG]
    return float(np.median(np.repeat(signed_DG[clear_DG], times)))


def _hidden(z_DG: Float64, signed_DG: BoolArray, used_DG: BoolArray, known_D: BoolArray, activity: str) -> BoolArray:
    """Targets whose own mRNA is not looked at.

    In `auto`, those of a perturbation none of whose targets moves: it acts on activity. The direction of a target without a known sign cannot be
    judged, so it is not hidden. A perturbation of a known kind is hidden whatever moves.
    """
    known_DG = signed_DG & known_D[:, None]
    if activity == "measured":
        return known_DG
    if activity == "hidden":
        return signed_DG
    is_clear_D1 = np.asarray((used_DG & (z_DG > SEEN_Z)).any(axis=1, keepdims=True))
    return known_DG | (signed_DG & ~is_clear_D1 & (z_DG < HIDDEN_Z))
