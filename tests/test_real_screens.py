"""Real perturbations from raw counts to the network, by the workflow and the example configurations: what is known of them has to come out.

Some minutes each (`make test-slow`), with fewer nulls than a run has by default; docs/real_screens.md has the figures of whole runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from causcade.files import read_json
from causcade.infer import own_changes
from causcade.responses import DrugEffects, ScreenFiles

REPOSITORY = Path(__file__).parents[1]
PARTS = ["Snakefile", "rules", "workflow_scripts", "config", "profiles", "envs", "src"]
FEWER = "causal: {edge_nulls: 1, label_nulls: 1, bootstraps: 1, drug_folds: 2, num_steps: 60}\nevaluation: {bootstrap: 20}\nbackend: cpu\n"

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.shared_data]


@pytest.fixture(scope="module")
def run(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Run an example configuration as it is, in a copy of the checkout beside a link to the real data; gives the folder of the results."""
    base = tmp_path_factory.mktemp("real")
    folder = base / "work"
    folder.mkdir()
    (base / "shared").symlink_to(shared_data.parent)
    for part in PARTS:
        source = REPOSITORY / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / part)
    (folder / "fewer.yaml").write_text(FEWER)

    def start(name: str) -> Path:
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--configfile", f"config/examples/{name}.yaml", "fewer.yaml"],
            cwd=folder, env=os.environ | {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return folder / "results" / name

    return start


def effects_of(results: Path) -> DrugEffects:
    stores = [sorted(map(str, results.glob(pattern))) for pattern in ("conditions/*.zarr", "basal/baseline/*.zarr")]
    return ScreenFiles(*stores, pd.read_parquet(results / "unmeasured" / "targets.parquet")).effects()


def num_sure(results: Path, fit: str) -> int:
    return int((pd.read_parquet(results / "latent" / fit / "edges.parquet")["probability"] > 0.9).sum())


def test_crispri_lowers_its_targets_and_moves_little_else(run):
    results = run("schraivogel")
    own = own_changes(effects_of(results))
    genes = ["CCNE2", "CPQ", "DSCC1", "FAM83A", "LRRCC1", "OXR1", "PHF20L1", "RIPK2", "STK3", "UBR5"]
    named = own[own["perturbation"].isin(genes)]
    assert sorted(named["target"]) == genes
    assert (named["z"] < -4).all(), "each of the ten genes falls where guides are directed against it"
    assert (own.loc[own["perturbation"].str.startswith("HS2"), "effect"] < 0).all()
    edges = pd.read_parquet(results / "network" / "edges.parquet")
    sure = edges[edges["probability"] > 0.9]
    assert len(sure) <= 0.03 * edges["probability"].notna().sum(), "few trans effects are known of this screen"
    assert num_sure(results, "edgenull0") < num_sure(results, "main")
    # LRRCC1 and E2F5 share a promoter: guides against the one lower the other.
    assert ((sure["regulator"] == "LRRCC1") & (sure["target"] == "E2F5") & (sure["sign"] == 1)).any()


def test_two_kinds_combinations_and_targets_that_are_not_measured(run):
    results = run("perturbench")
    targets = pd.read_parquet(results / "unmeasured" / "targets.parquet").set_index(["perturbation", "target"])
    assert targets.loc[("MAP2K6 (crispra)", "MAP2K6"), "sign"] == 1
    assert targets.loc[("MAP2K6 (crispri)", "MAP2K6"), "sign"] == -1
    assert targets.loc["KLF1+MAP2K6 (crispra)"].index.tolist() == ["KLF1", "MAP2K6"]
    assert targets.loc[targets["is_measured"]].index.get_level_values("target").unique().tolist() == ["TMSB4X"]
    assert targets["enters"].all()
    edges = pd.read_parquet(results / "network" / "edges.parquet")
    hidden = edges[~edges["source_measured"]]
    assert hidden["regulator"].nunique() == 30
    assert hidden["probability"].notna().all()
    assert hidden["effect"].isna().all()
    sure = hidden[hidden["probability"] > 0.9]
    assert 0 < len(sure) < 0.01 * len(hidden)
    null = pd.read_parquet(results / "latent" / "edgenull0" / "unmeasured_edges.parquet")
    assert (null["probability"] > 0.9).sum() < len(sure)
    # Activated MAPK1 lowers fetal haemoglobin: K562 leave the erythroid state.
    assert ((sure["regulator"] == "MAPK1") & (sure["target"] == "HBG2") & (sure["sign"] == -1)).any()
    effects = effects_of(results)
    assert set(effects.table["kind"]) == {"crispra", "crispri"}
    own = own_changes(effects)
    assert own.loc[own["is_measured"], ["target", "sign"]].to_numpy().tolist() == [["TMSB4X", 1]]
    assert own.loc[own["is_measured"], "z"].item() > 10


def test_interferon_is_described_and_no_network_is_claimed(run):
    results = run("kang")
    edges = pd.read_parquet(results / "network" / "edges.parquet")
    assert not edges["score"].any()
    assert edges["probability"].isna().all()
    assert "no column says anything of any edge" in read_json(results / "network" / "score_choice.json")["reason"]
    effects = effects_of(results).measured()
    z = pd.Series(effects.effect_DG[0] / effects.se_DG[0], index=effects.genes["gene"])
    assert (z[["IFI6", "ISG15", "MX1", "IFIT3", "ISG20", "IFIT1", "LY6E"]] > 10).all(), "genes that interferon induces"
