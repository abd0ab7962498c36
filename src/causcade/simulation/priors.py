"""Simulated prior networks in the formats of CollecTRI, DoRothEA and TRRUST, with their oddities.

A share of the true edges is listed, mostly of transcription factors, beside false edges, which favour well-studied transcription
factors. CollecTRI is the largest and overlaps the others. Some signs are wrong, some names are old, some rows mean nothing.
"""

from __future__ import annotations

from itertools import starmap

import numpy as np
import pandas as pd

from causcade.errors import InputError
from causcade.simulation.identifiers import SHARED_ALIAS
from causcade.simulation.network import random_stream
from causcade.simulation.screen import ScreenPlan

__all__ = ["cited_pairs", "collectri_table", "dorothea_table", "listed_edges", "trrust_table"]

SIGNALLING_PREFERENCE = 0.1  # odds that an edge of a signalling gene is listed, relative to one of a transcription factor
RIGHT_SIGN = 0.92
POSITIVE_FALSE = 0.75
SHARES = {"collectri": 0.85, "dorothea": 0.4, "trrust": 0.35}
INFERRED_PER_GENE = 0.4  # rows of the inference-only levels D and E of DoRothEA, per gene
LOST = "SIMLOST1"  # a symbol that no table knows


def listed_edges(plan: ScreenPlan) -> pd.DataFrame:
    """Draw the edges that the prior databases list.

    Parameters
    ----------
    plan
        The screen; its settings say which share of the true edges is listed and which share of the list is false.

    Returns
    -------
    pandas.DataFrame
        regulator, target (indices), sign, is_true, and one boolean column for each of collectri, dorothea, trrust; by regulator and target.

    Raises
    ------
    InputError
        If more false edges are asked for than there are pairs.
    """
    rng = random_stream(plan.seed, "priors")
    recall, noise = plan.settings.prior_recall, plan.settings.prior_noise
    regulator, target, weight = plan.network.edges()
    num_listed = round(recall * len(regulator) / (1.0 - noise)) if noise < 1.0 else round(recall * len(regulator))
    num_true = round(recall * len(regulator)) if noise < 1.0 else 0
    preference = np.where(regulator < plan.network.num_tfs, 1.0, SIGNALLING_PREFERENCE)
    true = rng.choice(len(regulator), num_true, replace=False, p=preference / preference.sum())
    sign_true = np.where(rng.random(num_true) < RIGHT_SIGN, 1, -1) * np.sign(weight[true])

    odds_TN = np.repeat(np.bincount(regulator, minlength=plan.network.num_tfs)[: plan.network.num_tfs, None] + 1.0, plan.network.num_genes, axis=1)
    is_tf = regulator < plan.network.num_tfs
    odds_TN[regulator[is_tf], target[is_tf]] = 0.0
    np.fill_diagonal(odds_TN, 0.0)
    num_false, num_possible = num_listed - num_true, int((odds_TN > 0).sum())
    if num_false > num_possible:
        raise InputError(
            f"simulation.prior_noise: expected at most {num_possible} false edges (one per pair), found {num_false} asked for. Lower `prior_noise`."
        )
    false = rng.choice(odds_TN.size, num_false, replace=False, p=odds_TN.ravel() / odds_TN.sum())
    table = pd.DataFrame(
        {
            "regulator": np.concatenate([regulator[true], false // plan.network.num_genes]),
            "target": np.concatenate([target[true], false % plan.network.num_genes]),
            "sign": np.concatenate([sign_true, np.where(rng.random(num_false) < POSITIVE_FALSE, 1, -1)]).astype(int),
            "is_true": np.arange(num_listed) < num_true,
        }
    )
    for name, share in SHARES.items():
        table[name] = rng.random(num_listed) < share
    table.loc[~table[list(SHARES)].any(axis=1), "collectri"] = True
    return table.sort_values(["regulator", "target"], ignore_index=True)


def _literature(rng: np.random.Generator, most: int) -> str:
    return ";".join(str(number) for number in sorted(rng.integers(9_000_000, 38_000_000, int(rng.integers(1, most + 1)))))


def collectri_table(plan: ScreenPlan, edges: pd.DataFrame) -> str:
    """Make CollecTRI as decoupler serves it: csv of source, target, weight, PMID.

    With a self loop, a pseudo factor AP1, rows without literature, a target that no table knows, and one whose name two genes share.
    """
    rng = random_stream(plan.seed, "collectri")
    symbols = plan.genes["gene"].to_numpy()
    rows = [
        (symbols[row.regulator], symbols[row.target], row.sign, _literature(rng, 6) if rng.random() < 0.97 else "")
        for row in edges[edges["collectri"]].itertuples(index=False)
    ]
    some_gene = symbols[plan.network.num_regulators]
    rows += [
        (symbols[0], symbols[0], 1, _literature(rng, 2)),
        ("AP1", some_gene, 1, _literature(rng, 2)),
        ("AP1", symbols[1], 1, _literature(rng, 2)),
    ]
    rows += [(symbols[0], LOST, -1, _literature(rng, 2)), (symbols[0], SHARED_ALIAS, 1, _literature(rng, 2))]
    return "\n".join(["source,target,weight,PMID", *starmap("{},{},{},{}".format, rows)]) + "\n"


def cited_pairs(plan: ScreenPlan, collectri: str) -> dict[frozenset[int], list[str]]:
    """PubMed ids by unordered pair of genes (indices), out of the text of :func:`collectri_table`."""
    place = {symbol: index for index, symbol in enumerate(plan.genes["gene"])}
    cited: dict[frozenset[int], list[str]] = {}
    for line in collectri.splitlines()[1:]:
        source, target, _, literature = line.split(",")
        if source in place and target in place and literature:
            cited[frozenset((place[source], place[target]))] = literature.split(";")
    return cited


def dorothea_table(plan: ScreenPlan, edges: pd.DataFrame, old_symbols: np.ndarray) -> str:
    """Make DoRothEA: tsv of tf, confidence, target, mor; levels A to C are the listed edges, D and E are guesses; some symbols are old."""
    rng = random_stream(plan.seed, "dorothea")
    listed = edges[edges["dorothea"]]
    levels = np.where(listed["is_true"], rng.choice(list("ABC"), len(listed), p=[0.25, 0.25, 0.5]), rng.choice(list("BC"), len(listed), p=[0.2, 0.8]))
    rows = [
        (old_symbols[row.regulator], level, old_symbols[row.target], float(row.sign)) for row, level in zip(listed.itertuples(), levels, strict=True)
    ]
    known = set(zip(edges["regulator"], edges["target"], strict=True))
    for _ in range(round(INFERRED_PER_GENE * plan.network.num_genes)):
        pair = int(rng.integers(plan.network.num_tfs)), int(rng.integers(plan.network.num_genes))
        if pair not in known and pair[0] != pair[1]:
            known.add(pair)
            rows.append((old_symbols[pair[0]], str(rng.choice(["D", "E"])), old_symbols[pair[1]], 1.0))
    return "\n".join(["tf\tconfidence\ttarget\tmor", *starmap("{}\t{}\t{}\t{}".format, sorted(rows))]) + "\n"


def trrust_table(plan: ScreenPlan, edges: pd.DataFrame, old_symbols: np.ndarray) -> str:
    """Make TRRUST, without a header: TF, target, mode, literature.

    Some pairs have several rows, one is contradictory, and one symbol was spoilt by a spreadsheet.
    """
    rng = random_stream(plan.seed, "trrust")
    rows = []
    for number, row in enumerate(edges[edges["trrust"]].itertuples(index=False)):
        names = old_symbols[row.regulator], old_symbols[row.target]
        stated = ["Repression", "Activation"][row.sign > 0]
        modes = {stated if rng.random() < 0.7 else "Unknown"} | ({"Unknown"} if rng.random() < 0.1 else set())
        if number == 0:
            modes = {"Activation", "Repression"}
        rows += [(*names, mode, _literature(rng, 3)) for mode in sorted(modes)]
    rows.append((old_symbols[0], "1-Dec", "Unknown", _literature(rng, 1)))
    return "\n".join(starmap("{}\t{}\t{}\t{}".format, sorted(rows))) + "\n"
