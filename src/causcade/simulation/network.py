"""The planted network: signed, directed, sparse, with hubs and feedback; and what follows from a direct effect.

Transcription factors regulate genes with heavy-tailed out-degrees, signalling genes regulate some transcription factors, and some
regulators regulate each other in loops. All effects are shifts of natural-log expression rates.

Axis letters: N genes of the network, R regulators among them, P perturbations (rows of effects).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["Floats", "Network", "plant_network", "propagate", "random_stream", "spectral_radius"]

Floats = NDArray[np.float64]
Dynamics = Literal["linear", "saturating", "hill"]

MAX_RADIUS = 0.6  # of W: cascades die out within a few hops
MAX_ABSOLUTE_RADIUS = 0.8  # of |W|: makes the saturating fixed point unique, whatever the signs
MAX_HUB_SHARE = 0.12  # largest share of all edges expected from one transcription factor
WEIGHT_RANGE = (0.2, 0.8)
HILL = 2.0  # coefficient of the occupancy of a promoter; half of the sites are occupied in controls
SATURATION = 1.5  # natural-log units at which the influence of a regulator levels off
FIXED_POINT_TOLERANCE = 1e-12
MAX_FIXED_POINT_STEPS = 1000

IN_DEGREE_OF_GENES = (0.07, 0.25, 0.33, 0.23, 0.12)
IN_DEGREE_OF_TFS = (0.15, 0.35, 0.30, 0.20)
IN_DEGREE_OF_SIGNALLING = (0.35, 0.40, 0.25)
SIGNALLING_SHARE_TO_TFS = 0.5
SIGNALLING_SHARE_TO_GENES = 0.06
REPRESSION_BETA = (3.4, 8.6)  # of each regulator's share of repressed targets; mean 0.28


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A directed network over the first N genes of the screen.

    Attributes
    ----------
    weight
        Sparse [N, N]; entry [target, regulator] in natural-log units of the target per natural-log unit of the regulator.
    num_tfs, num_signalling
        Genes 0 .. num_tfs-1 are transcription factors, the next num_signalling are signalling genes; only these regulate.
    """

    weight: Any
    num_tfs: int
    num_signalling: int

    @property
    def num_genes(self) -> int:
        """Number of genes N."""
        return int(self.weight.shape[0])

    @property
    def num_regulators(self) -> int:
        """Number of genes that may regulate; they come first."""
        return self.num_tfs + self.num_signalling

    def edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Regulator, target and weight of each edge, by regulator and then target."""
        target, regulator = self.weight.nonzero()
        order = np.lexsort((target, regulator))
        target, regulator = target[order].astype(np.int64), regulator[order].astype(np.int64)
        return regulator, target, np.asarray(self.weight[target, regulator], dtype=np.float64).ravel()


def random_stream(seed: int, *names: str) -> np.random.Generator:
    """Random generator of its own for each name, so that no draw shifts another.

    Parameters
    ----------
    seed
        Seed of the run.
    names
        What the numbers are for, such as ``"wells", "plate1"``.
    """
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], dtype=np.uint32).tolist()])


def spectral_radius(weight_RR: Floats) -> float:
    """Largest absolute eigenvalue of a dense square matrix; 0 where it is empty."""
    return float(np.abs(np.linalg.eigvals(weight_RR)).max()) if weight_RR.size else 0.0


def plant_network(num_genes: int, num_tfs: int, rng: np.random.Generator) -> Network:
    """Draw a network.

    Parameters
    ----------
    num_genes
        Genes in all; more than 1.5 times `num_tfs`.
    num_tfs
        Transcription factors; half as many signalling genes follow them.
    rng
        Source of randomness.

    Returns
    -------
    Network
        About two edges per gene, a quarter to a third of them repressing, spectral radius at most 0.6, with at least one negative two-gene loop and
        one loop through a signalling gene.
    """
    num_signalling = num_tfs // 2
    popularity = 1.0 + rng.pareto(1.1, num_tfs)
    popularity = np.minimum(popularity, MAX_HUB_SHARE * popularity.sum())
    popularity /= popularity.sum()
    repression = rng.beta(*REPRESSION_BETA, num_tfs + num_signalling)

    weight: dict[tuple[int, int], float] = {}
    for target in range(num_genes):
        for regulator in _draw_regulators(target, num_tfs, popularity, rng):
            sign = -1.0 if rng.random() < repression[regulator] else 1.0
            weight[target, regulator] = sign * rng.uniform(*WEIGHT_RANGE)
    _plant_loops(weight, num_tfs, num_signalling, rng)

    keys = np.array(sorted(weight), dtype=np.int64)
    values = np.array([weight[target, regulator] for target, regulator in keys])
    matrix = sparse.csr_array((values, (keys[:, 0], keys[:, 1])), shape=(num_genes, num_genes)).tolil()
    num_regulators = num_tfs + num_signalling
    block_RR = matrix[:num_regulators, :num_regulators].toarray()
    scale = min(1.0, MAX_RADIUS / spectral_radius(block_RR), MAX_ABSOLUTE_RADIUS / spectral_radius(np.abs(block_RR)))
    # Only regulators have columns, so their block alone has the non-zero eigenvalues; edges to other genes keep their size.
    matrix[:num_regulators, :num_regulators] = block_RR * scale
    return Network(weight=sparse.csr_array(matrix), num_tfs=num_tfs, num_signalling=num_signalling)


def _draw_regulators(target: int, num_tfs: int, popularity: Floats, rng: np.random.Generator) -> list[int]:
    """Distinct regulators of one gene, never the gene itself."""
    num_signalling = num_tfs // 2
    degrees: tuple[float, ...]
    if target < num_tfs:
        degrees, signalling_share = IN_DEGREE_OF_TFS, SIGNALLING_SHARE_TO_TFS
    elif target < num_tfs + num_signalling:
        degrees, signalling_share = IN_DEGREE_OF_SIGNALLING, 0.0
    else:
        degrees, signalling_share = IN_DEGREE_OF_GENES, SIGNALLING_SHARE_TO_GENES
    chosen: set[int] = set()
    for _ in range(int(rng.choice(len(degrees), p=degrees))):
        is_signalling = rng.random() < signalling_share
        regulator = num_tfs + int(rng.integers(num_signalling)) if is_signalling else int(rng.choice(num_tfs, p=popularity))
        if regulator != target:
            chosen.add(regulator)
    return sorted(chosen)


def _plant_loops(weight: dict[tuple[int, int], float], num_tfs: int, num_signalling: int, rng: np.random.Generator) -> None:
    """Add a negative two-gene loop of transcription factors for every twenty, and as many negative loops through a signalling gene."""
    num_loops = max(1, num_tfs // 20)
    tfs = rng.permutation(num_tfs)[: 3 * num_loops].tolist()
    signalling = (num_tfs + rng.permutation(num_signalling)[:num_loops]).tolist()
    for loop in range(min(num_loops, len(tfs) // 3, len(signalling))):
        first, second, third = tfs[3 * loop : 3 * loop + 3]
        through = signalling[loop]
        weight[second, first], weight[first, second] = 0.6, -0.5
        weight[third, through], weight[through, third] = 0.6, -0.5


def propagate(network: Network, mrna_PN: Floats, activity_PN: Floats, dynamics: Dynamics) -> Floats:
    """Compute the shifts of log expression that follow from direct effects, at the steady state.

    An effect on the mRNA moves the gene itself and all that follows; an effect on the activity acts on what follows as if the gene
    had moved, and reaches its own mRNA through feedback only. Linear: x = m + W (x + a), so x = (I - W)^-1 (m + W a). Saturating:
    x = m + W s(x + a) with s(y) = 1.5 tanh(y / 1.5). Hill: a regulator y natural-log units above its level in controls occupies the
    share r = 1 / (1 + exp(-2 y)) of its sites, and multiplies the rate of a target by (1 + (F - 1) r) / (1 + (F - 1) / 2); the fold
    change F = (1 + w) / (1 - w) is such that the effect of a small y is w y. What a regulator adds ends at ln(1 + w), what its loss
    takes at ln(1 - w). Both are solved by iteration, which converges because the spectral radius of the absolute values of W is below
    1 and an influence expands little or not at all.

    Parameters
    ----------
    network
        The network.
    mrna_PN, activity_PN
        Direct effects on mRNA and on activity, natural-log units, one row per perturbation.
    dynamics
        linear, saturating or hill.

    Returns
    -------
    numpy.ndarray
        [P, N], natural-log units.
    """
    weight = network.weight
    if dynamics == "linear":
        num_regulators = network.num_regulators
        columns_NR = weight[:, :num_regulators]
        start_PN = mrna_PN + (weight @ activity_PN.T).T
        system_RR = np.eye(num_regulators) - columns_NR[:num_regulators].toarray()
        moved_RP = np.linalg.solve(system_RR, start_PN[:, :num_regulators].T)
        return np.asarray(start_PN + (columns_NR @ moved_RP).T)
    shift_PN: Floats = mrna_PN.copy()
    for _ in range(MAX_FIXED_POINT_STEPS):
        follows_PN = _saturating(network, shift_PN + activity_PN) if dynamics == "saturating" else _hill(network, shift_PN + activity_PN)
        moved_PN = mrna_PN + follows_PN
        change = float(np.abs(moved_PN - shift_PN).max(initial=0.0))
        shift_PN = moved_PN
        if change < FIXED_POINT_TOLERANCE:
            return shift_PN
    raise ArithmeticError(f"the {dynamics} dynamics did not settle within {MAX_FIXED_POINT_STEPS} steps")


def _saturating(network: Network, level_PN: Floats) -> Floats:
    influence_PN = SATURATION * np.tanh(level_PN / SATURATION)
    return np.asarray((network.weight @ influence_PN.T).T)


def _hill(network: Network, level_PN: Floats) -> Floats:
    regulator_E, target_E, weight_E = network.edges()
    log_fold_E = np.log1p(weight_E) - np.log1p(-weight_E)
    occupied_PE = HILL * level_PN[:, regulator_E]
    # ln((1 + F e^z) / (1 + e^z)), less its value at z = 0
    effect_PE = np.logaddexp(0.0, log_fold_E + occupied_PE) - np.logaddexp(0.0, occupied_PE) + np.log1p(-weight_E)
    into_EN = sparse.csr_array((np.ones(len(target_E)), (np.arange(len(target_E)), target_E)), shape=(len(target_E), network.num_genes))
    return np.asarray(effect_PE @ into_EN)
