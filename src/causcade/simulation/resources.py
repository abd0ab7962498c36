"""Writes every curated resource of the simulated screen, each in its upstream format, under the names of the catalogue."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd

from causcade.config import SimulationConfig
from causcade.files import replacing, write_parquet, write_text
from causcade.gene_lists import G2M_GENES, S_GENES
from causcade.resource_catalogue import SIMULATED_FILES
from causcade.simulation.identifiers import hgnc_table, identify_genes
from causcade.simulation.interactions import complexportal_table, draw_complexes, humap_table, reactome_table, string_info_table, string_table
from causcade.simulation.network import random_stream
from causcade.simulation.priors import cited_pairs, collectri_table, dorothea_table, listed_edges, trrust_table
from causcade.simulation.screen import ScreenPlan, simulate_plan

__all__ = ["write_resources"]

NUM_RBPS = 40
HALLMARK_GENES = 40
NOT_A_TARGET = "WNV NS2B-NS3"  # as in the drug table of Tahoe-100M: a target that is no human gene


def write_resources(settings: SimulationConfig, seed: int, folder: str | Path) -> None:
    """Write all resources of :data:`causcade.resource_catalogue.SIMULATED_FILES`; equal seeds give equal bytes.

    Parameters
    ----------
    settings
        Section `simulation` of the configuration. The names of the plates are not used.
    seed
        Seed of the run.
    folder
        Folder to write to.
    """
    plan = simulate_plan(settings, seed)
    identified = identify_genes(plan)
    edges = listed_edges(plan)
    complexes = draw_complexes(plan)
    old_symbols = identified["old"].to_numpy()
    collectri = collectri_table(plan, edges)
    texts = {
        "hgnc": hgnc_table(identified),
        "collectri": collectri,
        "dorothea": dorothea_table(plan, edges, old_symbols),
        "trrust": trrust_table(plan, edges, old_symbols),
        "string": string_table(plan, complexes, identified["ensp"].to_numpy()),
        "string_info": string_info_table(identified),
        "complexportal": complexportal_table(plan, complexes, identified["uniprot"].to_numpy(), cited_pairs(plan, collectri)),
        "humap": humap_table(plan, complexes, identified),
        "reactome": reactome_table(plan),
        "tfs": _tf_table(plan),
        "rbps": _rbp_table(plan),
        "hallmarks": _hallmark_table(plan),
    }
    for name, text in texts.items():
        path = Path(folder) / SIMULATED_FILES[name]
        if path.suffix == ".gz":
            with replacing(path) as temporary:
                temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
        else:
            write_text(path, text)
    write_parquet(Path(folder) / SIMULATED_FILES["drug_targets"], _drug_table(plan, old_symbols))


def _tf_table(plan: ScreenPlan) -> str:
    """One symbol per line with Windows line ends, as upstream; two are not in the screen."""
    symbols = plan.genes.loc[plan.genes["kind"] == "tf", "gene"]
    return "".join(f"{symbol}\r\n" for symbol in ["AC008770.3", *symbols, "SIMTF999"])


def _gene_set(name: str, symbols: np.ndarray | list[str]) -> str:
    return "\t".join([name, f"http://www.gsea-msigdb.org/gsea/msigdb/cards/{name}", *symbols])


def _rbp_table(plan: ScreenPlan) -> str:
    """Write gene sets of molecular functions, of which GO_RNA_BINDING is the list of RNA-binding proteins."""
    rng = random_stream(plan.seed, "rbps")
    symbols = plan.genes["gene"].to_numpy()
    first = plan.network.num_regulators
    binding = symbols[
        np.sort(rng.choice(np.arange(first, plan.network.num_genes), min(NUM_RBPS, (plan.network.num_genes - first) // 3), replace=False))
    ]
    rows = [
        _gene_set("GO_DNA_BINDING", symbols[: plan.network.num_tfs]),
        _gene_set("GO_RNA_BINDING", ["MIR675", *binding]),
        _gene_set("GO_MRNA_BINDING", binding[::3]),
    ]
    return "\n".join(rows) + "\n"


def _hallmark_table(plan: ScreenPlan) -> str:
    """Write gene sets of the processes that the simulation has: stress, cell cycle (with the old symbols of its lists), gene programs."""
    symbols, expression = plan.genes["gene"].to_numpy(), plan.expression
    by_stress = np.argsort(-np.abs(expression.stress_G), kind="stable")[:HALLMARK_GENES]
    rows = [
        _gene_set("HALLMARK_SIMULATED_STRESS", symbols[np.sort(by_stress)]),
        _gene_set("HALLMARK_E2F_TARGETS", list(S_GENES)),
        _gene_set("HALLMARK_G2M_CHECKPOINT", list(G2M_GENES)),
    ]
    for number, loading_G in enumerate(expression.program_FG, start=1):
        members = np.sort(np.argsort(-np.abs(loading_G), kind="stable")[: min(HALLMARK_GENES, int((loading_G != 0).sum()))])
        rows.append(_gene_set(f"HALLMARK_SIMULATED_PROGRAM_{number}", symbols[members]))
    return "\n".join(rows) + "\n"


def _drug_table(plan: ScreenPlan, old_symbols: np.ndarray) -> pd.DataFrame:
    """Columns and habits of the drug table of Tahoe-100M; it lists neither the control nor trailing spaces, and lacks some targets."""
    rows = []
    for index, drug in enumerate(plan.drugs):
        targets = [str(old_symbols[gene]) for gene in drug.targets] + ([NOT_A_TARGET] if index == 0 else [])
        fine = "unclear" if drug.mode == "unclear" else f"{old_symbols[drug.targets[0]]} {drug.mode.split('/')[0]}"
        rows.append(
            {
                "drug": drug.name,
                "targets": ", ".join(targets) if drug.is_listed else None,
                "moa-broad": drug.mode,
                "moa-fine": fine if drug.is_listed else "unclear",
                "human-approved": "yes" if index % 3 else "no",
                "clinical-trials": "yes",
                "gpt-notes-approval": "Simulated drug.",
                "canonical_smiles": None,
                "pubchem_cid": float("nan"),
            }
        )
    return pd.DataFrame(rows).sort_values("drug", ignore_index=True).astype({"canonical_smiles": "object", "pubchem_cid": "float64"})
