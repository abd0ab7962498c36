"""Small screens on disk for the tests of evidence and network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from screens import Screen

from causcade.files import write_anndata
from causcade.responses import ScreenFiles


def write_screen(screen: Screen, folder: Path) -> ScreenFiles:
    """Stores of a screen, as the stages `conditions` and `basal` write them."""
    paths: dict[str, list[str]] = {"conditions": [], "baselines": []}
    for name, stores in (("conditions", screen.conditions), ("baselines", screen.baselines)):
        for i, store in enumerate(stores):
            paths[name].append(str(folder / f"{name}{i}.zarr"))
            write_anndata(paths[name][-1], store)
    return ScreenFiles(paths["conditions"], paths["baselines"], screen.targets)


def make_latent(edges: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """What the latent stage writes of each edge, drawn at random; half of the regulators are hit by no perturbation."""
    rng = np.random.default_rng(seed)
    hit = edges["regulator"].isin(sorted(set(edges["regulator"]))[::2]).to_numpy()
    return pd.DataFrame(
        {
            "regulator": edges["regulator"].to_numpy(), "target": edges["target"].to_numpy(), "score": rng.uniform(0, 20, len(edges)),
            "sign": rng.choice([-1, 1], len(edges)).astype(np.int8), "effect": np.where(hit, rng.normal(size=len(edges)), np.nan),
            "probability": np.where(hit, rng.uniform(size=len(edges)), np.nan),
        }
    )  # fmt: skip
