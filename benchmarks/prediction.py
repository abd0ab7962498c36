"""What `causcade predict --do REGULATOR=-1` says, against the planted network with the edges into that regulator cut.

    python benchmarks/prediction.py [--run results/simulated] [--fit main]

The run is a finished one of a simulated screen with linear dynamics, such as that of `make demo`. Printed are medians, for regulators that a
perturbation hits and for those that none does: of the Pearson correlation over all other genes, of how often the sign is right where the truth
exceeds 0.1, and of the slope of predicted on true changes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from causcade.causal import read_fit
from causcade.files import read_parquet
from causcade.prediction import Intervention, predict

CLEAR = 0.1  # true changes beyond this are asked for their sign


def true_change(weight_NN: np.ndarray, regulator: int) -> np.ndarray:
    """Steady state of the planted linear network while one gene is held at -1 and nothing acts on it [N]."""
    others = np.delete(np.arange(len(weight_NN)), regulator)
    change_N = np.full(len(weight_NN), -1.0)
    inner = np.eye(len(others)) - weight_NN[np.ix_(others, others)]
    change_N[others] = np.linalg.solve(inner, -weight_NN[others, regulator])
    return change_N


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("results/simulated"))
    parser.add_argument("--fit", default="main")
    given = parser.parse_args()
    fit = read_fit(given.run / "causal" / given.fit)
    truth = read_parquet(given.run / "simulation" / "truth" / "edges.parquet")
    truth = truth[truth["weight"] != 0]
    genes = pd.Index(sorted({*fit.genes, *truth["regulator"], *truth["target"]}))
    weight_NN = np.zeros((len(genes), len(genes)))
    weight_NN[genes.get_indexer(truth["target"]), genes.get_indexer(truth["regulator"])] = truth["weight"]
    hit = set(read_parquet(given.run / "targets.parquet")["target"])
    rows = []
    for regulator in sorted(set(truth["regulator"]) & set(fit.genes)):
        told = predict(fit, [], [Intervention(regulator, "shift", -1.0)]).table.set_index("gene")["change"]
        real = pd.Series(true_change(weight_NN, genes.get_loc(regulator)), index=genes)
        others = [gene for gene in fit.genes if gene != regulator]
        found_G, true_G = told.reindex(others, fill_value=0.0).to_numpy(), real[others].to_numpy()
        is_clear = np.abs(true_G) > CLEAR
        if not is_clear.any():
            continue
        moves = found_G.std() > 0
        rows.append(
            {
                "group": "hit by a perturbation" if regulator in hit else "hit by none",
                "pearson": float(np.corrcoef(found_G, true_G)[0, 1]) if moves else 0.0,
                "sign": float(np.mean(np.sign(found_G[is_clear]) == np.sign(true_G[is_clear]))),
                "size": float(found_G @ true_G / (true_G @ true_G)),
            }
        )
    groups = pd.DataFrame(rows).groupby("group")
    found = {"number": groups.size(), **{name: groups["pearson"].agg(name) for name in ("median", "min", "max")}}
    print(pd.DataFrame(found).join(groups[["sign", "size"]].median()).round(3))


if __name__ == "__main__":
    main()
