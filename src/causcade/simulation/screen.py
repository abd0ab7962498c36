"""What is in the simulated screen: genes, drugs, cell lines, expression model, wells of a plate, and the truth.

A drug has one to three targets. Its direct effect at dose x is the maximal effect times the Hill gain x / (x + EC50), on the mRNA of its
targets or, for a share of the drugs, on their activity only. Beside what the network propagates, each drug causes some of one shared
stress response.

Axis letters: G genes of the screen (the first N are those of the network), N, R as in :mod:`causcade.simulation.network`, D drugs,
L cell lines, F gene programs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from causcade.config import SimulationConfig
from causcade.errors import InputError
from causcade.files import write_parquet
from causcade.gene_lists import G2M_GENES, MITO_GENES, S_GENES
from causcade.simulation.network import Floats, Network, plant_network, propagate, random_stream

__all__ = [
    "CONTROL",
    "DOSES_UM",
    "Drug",
    "Expression",
    "ScreenPlan",
    "dose_response",
    "simulate_plan",
    "true_responses",
    "write_truth",
]

CONTROL = "DMSO_TF"
DOSES_UM = (0.05, 0.5, 5.0)
NUM_DEFAULT_PLATES = 3
NUM_CONTROL_WELLS = 4
CONTROL_WELL_FACTOR = 3  # cells of a control well per cell of a treated one: every contrast leans on the controls
MITO_SHARE = 0.05
NUM_PROGRAMS = 8
NEW_SYMBOLS = {"MLF1IP": "CENPU", "FAM64A": "PIMREG", "HN1": "JPT1"}  # approved symbols of three old names in the cell-cycle lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Drug:
    """A drug: what it does, and what the drug table says about it.

    Attributes
    ----------
    name
        Name in the drug table.
    label
        Name in the cells; one drug has a trailing space there, as two have in Tahoe-100M.
    targets
        Indices of the genes it acts on.
    effects
        Maximal direct effect on each, natural-log units.
    is_activity_only
        Whether it acts on the activity of its targets and leaves their mRNA alone.
    ec50_um
        Dose of half the effect, uM.
    stress
        Strength of the shared stress response.
    mode
        ``moa-broad`` of the drug table.
    is_listed
        Whether the drug table knows its targets.
    """

    name: str
    label: str
    targets: tuple[int, ...]
    effects: tuple[float, ...]
    is_activity_only: bool
    ec50_um: float
    stress: float
    mode: str
    is_listed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """Expression without drugs, natural-log units unless said otherwise."""

    log_share_G: Floats
    """Log of the expected share of a gene in the counts of a cell."""
    dispersion_G: Floats
    """Negative-binomial dispersion: variance = mean + dispersion * mean^2."""
    line_shift_LG: Floats
    line_gain_L: Floats
    """Factor on all drug responses of a line."""
    line_share_L: Floats
    program_FG: Floats
    """Loadings of the gene programs that vary between cells and have nothing to do with the network."""
    s_phase_G: Floats
    g2m_phase_G: Floats
    stress_G: Floats
    is_mito_G: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenPlan:
    """Everything about a screen except the cells.

    Attributes
    ----------
    genes
        One row per gene of the screen: gene, gene_id, var_name (gene_id, for some with a version), kind (tf, signalling, gene, s, g2m,
        mito). The first `network.num_genes` rows are the network's axis.
    network, drugs, cell_lines, expression
        What was drawn.
    """

    settings: SimulationConfig
    seed: int
    genes: pd.DataFrame
    network: Network
    drugs: tuple[Drug, ...]
    cell_lines: tuple[str, ...]
    expression: Expression

    def wells(self, plate: str) -> pd.DataFrame:
        """Wells of a plate: well, drug (index, -1 for controls), dose (uM), num_cells; in the order of their names.

        The drug library is cut into three blocks; a plate holds one of them, by the number at the end of its name (plate4 holds the drugs
        of plate1), or by a hash of the name where it has none.

        Parameters
        ----------
        plate
            Name of the plate. Nothing else about the other plates is used.
        """
        rng = random_stream(self.seed, "wells", plate)
        num_block = math.ceil(len(self.drugs) / NUM_DEFAULT_PLATES)
        number = re.search(r"(\d+)$", plate)
        block = int(number.group(1)) - 1 if number else int(random_stream(0, "block", plate).integers(NUM_DEFAULT_PLATES))
        # A library that does not divide by three wraps around, so that no plate is left with controls alone.
        drugs = np.unique(((block % NUM_DEFAULT_PLATES) * num_block + np.arange(num_block)) % len(self.drugs))
        drug = np.concatenate([np.repeat(drugs, len(DOSES_UM)), np.full(NUM_CONTROL_WELLS, -1)])
        dose = np.concatenate([np.tile(DOSES_UM, len(drugs)), np.zeros(NUM_CONTROL_WELLS)])
        order = rng.permutation(len(drug))
        drug, dose = drug[order], dose[order]
        expected = self.settings.cells_per_well * np.where(drug < 0, CONTROL_WELL_FACTOR, 1) * rng.lognormal(0.0, 0.12, len(drug))
        return pd.DataFrame({"well": _well_names(plate, len(drug)), "drug": drug, "dose": dose, "num_cells": rng.poisson(expected)})


def _well_names(plate: str, num_wells: int) -> list[str]:
    """Positions on the smallest of the usual plate formats (96, 384, 1536 wells), row by row."""
    num_columns = next(columns for columns, size in ((12, 96), (24, 384), (48, num_wells)) if num_wells <= size)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = []
    for index in range(num_wells):
        row, column = divmod(index, num_columns)
        prefix = letters[row // len(letters) - 1] if row >= len(letters) else ""
        names.append(f"{plate}_{prefix}{letters[row % len(letters)]}{column + 1:02d}")
    return names


def simulate_plan(settings: SimulationConfig, seed: int) -> ScreenPlan:
    """Draw genes, network, drugs, cell lines and basal expression.

    Parameters
    ----------
    settings
        Section `simulation` of the configuration. The names of the plates are not used.
    seed
        Seed of the run.

    Raises
    ------
    InputError
        If there are too few genes for the transcription factors and the signalling genes that come with them.
    """
    needed = 2 * settings.num_tfs
    if settings.num_genes < needed:
        raise InputError(
            f"simulation.num_genes: expected at least twice `num_tfs`, that is {needed}, found {settings.num_genes}. "
            "Raise `num_genes` or lower `num_tfs`."
        )
    network = plant_network(settings.num_genes, settings.num_tfs, random_stream(seed, "network"))
    genes = _name_genes(network)
    return ScreenPlan(
        settings=settings,
        seed=seed,
        genes=genes,
        network=network,
        drugs=_draw_drugs(settings, network, random_stream(seed, "drugs")),
        cell_lines=tuple(f"line{number}" for number in range(1, settings.num_cell_lines + 1)),
        expression=_draw_expression(genes["kind"].to_numpy(dtype=str), network, settings.num_cell_lines, random_stream(seed, "expression")),
    )


def _name_genes(network: Network) -> pd.DataFrame:
    num_others = network.num_genes - network.num_regulators
    parts = [
        ("tf", [f"SIMTF{number:03d}" for number in range(1, network.num_tfs + 1)]),
        ("signalling", [f"SIMSIG{number:03d}" for number in range(1, network.num_signalling + 1)]),
        ("gene", [f"SIMGEN{number:04d}" for number in range(1, num_others + 1)]),
        ("s", [NEW_SYMBOLS.get(gene, gene) for gene in S_GENES]),
        ("g2m", [NEW_SYMBOLS.get(gene, gene) for gene in G2M_GENES]),
        ("mito", list(MITO_GENES)),
    ]
    table = pd.DataFrame([(gene, kind) for kind, names in parts for gene in names], columns=["gene", "kind"])
    table.insert(1, "gene_id", [f"ENSG{9_000_000_001 + index:011d}" for index in range(len(table))])
    # Half of all annotation releases write a version behind the id; here a fifth of the genes do.
    table.insert(2, "var_name", [f"{gene_id}.2" if index % 5 == 3 else gene_id for index, gene_id in enumerate(table["gene_id"])])
    return table


def _target_pool(settings: SimulationConfig, network: Network, rng: np.random.Generator) -> list[int]:
    """Genes that drugs can hit: mostly regulators, by preference those that regulate much; a few that regulate nothing."""
    out_degree = np.diff(network.weight.tocsc().indptr)
    size = max(2, min(round(0.62 * settings.num_drugs), network.num_regulators))
    num_others = size // 8
    num_signalling = min(network.num_signalling, size // 5)
    num_tfs = min(network.num_tfs, size - num_others - num_signalling)
    preference = np.sqrt(out_degree[: network.num_tfs] + 0.5)
    tfs = rng.choice(network.num_tfs, num_tfs, replace=False, p=preference / preference.sum())
    signalling = network.num_tfs + rng.choice(network.num_signalling, num_signalling, replace=False)
    others = network.num_regulators + rng.choice(network.num_genes - network.num_regulators, num_others, replace=False)
    return [int(gene) for gene in rng.permutation(np.concatenate([tfs, signalling, others]))]


def _draw_drugs(settings: SimulationConfig, network: Network, rng: np.random.Generator) -> tuple[Drug, ...]:
    pool = _target_pool(settings, network, rng)
    num_drugs = settings.num_drugs
    activity_only = set(rng.permutation(num_drugs)[: round(settings.activity_only * num_drugs)].tolist())
    unlisted = set(rng.permutation(num_drugs)[: num_drugs // 24].tolist())
    drugs = []
    for index in range(num_drugs):
        num_targets = int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))
        # The first drugs go through the pool, so that each of its genes is hit; the others share them.
        first = pool[index] if index < len(pool) else int(rng.choice(pool))
        others = [int(gene) for gene in rng.permutation(pool) if gene != first][: num_targets - 1]
        is_activator = rng.random() < 0.2
        size = rng.uniform(0.8, 1.6) if is_activator else -rng.uniform(1.0, 2.0)
        weaker = rng.uniform(0.5, 1.0, len(others))
        mode = "activator/agonist" if is_activator else "inhibitor/antagonist"
        name = f"Drug{index + 1:02d}" + (f" ({CONTROL} solvate)" if index == 2 else "")
        drugs.append(
            Drug(
                name=name,
                label=name + (" " if index == 1 else ""),
                targets=(first, *others),
                effects=(size, *(float(size * factor) for factor in weaker)),
                is_activity_only=index in activity_only,
                ec50_um=float(0.3 * rng.lognormal(0.0, 0.6)),
                stress=float(rng.gamma(1.5, 0.5)),
                mode="unclear" if rng.random() < 0.06 else mode,
                is_listed=index not in unlisted,
            )
        )
    return tuple(drugs)


def _draw_expression(kind_G: np.ndarray, network: Network, num_lines: int, rng: np.random.Generator) -> Expression:
    num_genes, num_network = len(kind_G), network.num_genes
    is_mito_G = kind_G == "mito"
    is_regulator_G = np.isin(kind_G, ["tf", "signalling"])
    # Most genes are rare and a few make up much of a cell; regulators are in the middle of the range, or no drug on them could be seen.
    log_share_G = np.where(is_regulator_G, rng.normal(0.5, 0.6, num_genes), rng.normal(-1.3, 1.9, num_genes))
    log_share_G = np.where(np.isin(kind_G, ["s", "g2m"]), rng.normal(0.0, 0.6, num_genes), np.minimum(log_share_G, 4.0))
    share_G = np.exp(log_share_G)
    share_G[~is_mito_G] *= (1.0 - MITO_SHARE) / share_G[~is_mito_G].sum()
    share_G[is_mito_G] = MITO_SHARE * rng.dirichlet(np.full(int(is_mito_G.sum()), 4.0))

    in_network_G = np.arange(num_genes) < num_network
    program_FG = rng.normal(0.0, 0.35, (NUM_PROGRAMS, num_genes)) * (rng.random((NUM_PROGRAMS, num_genes)) < 0.1) * in_network_G
    weak_cycle_G = rng.normal(0.0, 0.25, (2, num_genes)) * (rng.random((2, num_genes)) < 0.08) * in_network_G
    marked_LG = rng.normal(0.0, 0.5, (num_lines, num_genes)) * (rng.random((num_lines, num_genes)) < 0.3)
    return Expression(
        log_share_G=np.log(share_G),
        dispersion_G=np.clip(0.2 * rng.lognormal(0.0, 0.4, num_genes), 0.05, 1.0),
        line_shift_LG=marked_LG + rng.normal(0.0, 0.1, (num_lines, num_genes)),
        line_gain_L=np.clip(rng.normal(1.0, 0.12, num_lines), 0.7, 1.3),
        line_share_L=rng.dirichlet(np.full(num_lines, 40.0)),
        program_FG=program_FG,
        s_phase_G=np.where(kind_G == "s", rng.uniform(0.8, 1.4, num_genes), weak_cycle_G[0]),
        g2m_phase_G=np.where(kind_G == "g2m", rng.uniform(0.8, 1.4, num_genes), weak_cycle_G[1]),
        stress_G=rng.normal(0.0, 0.3, num_genes) * (rng.random(num_genes) < 0.4) * ~is_mito_G,
        is_mito_G=is_mito_G,
    )


def dose_response(drug: Drug, dose_um: float) -> float:
    """Hill gain of a drug, x / (x + EC50), between 0 and 1.

    Parameters
    ----------
    drug
        The drug.
    dose_um
        Dose, uM.
    """
    return dose_um / (dose_um + drug.ec50_um)


def true_responses(plan: ScreenPlan, gain_D: Floats) -> Floats:
    """Compute what the network makes of each drug's direct effect, without noise and without the stress response.

    Parameters
    ----------
    plan
        The screen.
    gain_D
        Factor on the maximal direct effect of each drug: its Hill gain, times the gain of a cell line.

    Returns
    -------
    numpy.ndarray
        [D, N], natural-log fold changes.
    """
    mrna_DN = np.zeros((len(plan.drugs), plan.network.num_genes))
    activity_DN = np.zeros_like(mrna_DN)
    for index, drug in enumerate(plan.drugs):
        effect_DN = activity_DN if drug.is_activity_only else mrna_DN
        effect_DN[index, list(drug.targets)] = gain_D[index] * np.array(drug.effects)
    return propagate(plan.network, mrna_DN, activity_DN, plan.settings.dynamics)


def write_truth(settings: SimulationConfig, seed: int, folder: str | Path) -> None:
    """Write the truth: edges.parquet, direct_effects.parquet and responses.parquet. Only evaluation may read them.

    Parameters
    ----------
    settings
        Section `simulation` of the configuration.
    seed
        Seed of the run.
    folder
        Folder to write to. edges: regulator, target, weight. direct_effects: perturbation, gene, effect (natural log, at the top dose),
        acts_on (mrna or activity). responses: perturbation, gene, response (natural log, at the top dose, the network's part alone).
    """
    plan = simulate_plan(settings, seed)
    symbols = plan.genes["gene"].to_numpy()
    regulator, target, weight = plan.network.edges()
    write_parquet(Path(folder) / "edges.parquet", pd.DataFrame({"regulator": symbols[regulator], "target": symbols[target], "weight": weight}))

    gain_D = np.array([dose_response(drug, DOSES_UM[-1]) for drug in plan.drugs])
    direct = [
        (drug.name, symbols[gene], gain * effect, "activity" if drug.is_activity_only else "mrna")
        for drug, gain in zip(plan.drugs, gain_D, strict=True)
        for gene, effect in zip(drug.targets, drug.effects, strict=True)
    ]
    write_parquet(Path(folder) / "direct_effects.parquet", pd.DataFrame(direct, columns=["perturbation", "gene", "effect", "acts_on"]))

    response_DN = true_responses(plan, gain_D)
    names = [drug.name for drug in plan.drugs]
    num_genes = plan.network.num_genes
    table = pd.DataFrame(
        {"perturbation": np.repeat(names, num_genes), "gene": np.tile(symbols[:num_genes], len(names)), "response": response_DN.ravel()}
    )
    write_parquet(Path(folder) / "responses.parquet", table)
