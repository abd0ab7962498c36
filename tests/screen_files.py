"""A small screen on disk, and configurations of it: for the tests of the checks and of the command line."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import yaml

GENES = ["TP53", "MYC", "KLF1", "GATA1", "MT-CO1"]
HGNC = (
    "symbol\tstatus\tprev_symbol\talias_symbol\tensembl_gene_id\tuniprot_ids\tentrez_id\n"
    + "".join(f"{gene}\tApproved\t\t\tENSG{number:011d}\t\t{number}\n" for number, gene in enumerate(GENES, start=1))
)  # fmt: skip


def make_plate(labels=("DMSO_TF", "DrugA", "DrugB"), lines=("A", "B"), cells=4, genes=GENES, seed=0, **columns) -> anndata.AnnData:
    """Counts of a few cells of each label and line, in the columns of Tahoe-100M."""
    pairs = [(label, line) for label in labels for line in lines for _ in range(cells)]
    obs = pd.DataFrame(pairs, columns=["drug", "cell_line"], index=[f"c{i}" for i in range(len(pairs))])
    obs["drugname_drugconc"] = [f"[({label!r}, {0.0 if label == 'DMSO_TF' else 0.5}, 'uM')]" for label in obs["drug"]]
    obs["sample"] = "well_" + obs["drug"]
    counts = np.random.default_rng(seed).poisson(2.0, (len(obs), len(genes))).astype(np.float32)
    return anndata.AnnData(counts, obs=obs.assign(**columns), var=pd.DataFrame(index=pd.Index(genes, dtype=object)))


def write_screen(folder: Path, plates: dict[str, anndata.AnnData], **keys) -> Path:
    """Write plates, their table and a configuration that names them; returns the configuration."""
    for name, plate in plates.items():
        plate.write_h5ad(folder / f"{name}.h5ad")
    (folder / "plates.tsv").write_text("plate\tcounts\n" + "".join(f"{name}\t{folder / name}.h5ad\n" for name in plates))
    (folder / "hgnc.tsv").write_text(HGNC)
    return write_config(folder, **keys)


def write_config(folder: Path, **keys) -> Path:
    """Write a configuration with these keys over those of the screen."""
    values = {"run": "mine", "plates": str(folder / "plates.tsv"), "resources": {"hgnc": {"path": str(folder / "hgnc.tsv")}}} | keys
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder / "config.yaml"
