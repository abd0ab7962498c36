"""Identifiers of the simulated genes, and the HGNC table that links them.

Some genes have a previous symbol, which other resources still use, or an alias; two share an alias, and one alias is the approved
symbol of another gene.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from causcade.simulation.network import random_stream
from causcade.simulation.screen import NEW_SYMBOLS, ScreenPlan

__all__ = ["HGNC_COLUMNS", "SHARED_ALIAS", "hgnc_table", "identify_genes"]

HGNC_COLUMNS = (
    "hgnc_id", "symbol", "name", "locus_group", "locus_type", "status", "location", "location_sortable", "alias_symbol", "alias_name",
    "prev_symbol", "prev_name", "gene_group", "gene_group_id", "date_approved_reserved", "date_symbol_changed", "date_name_changed",
    "date_modified", "entrez_id", "ensembl_gene_id", "vega_id", "ucsc_id", "ena", "refseq_accession", "ccds_id", "uniprot_ids", "pubmed_id",
    "mgd_id", "rgd_id", "lsdb", "cosmic", "omim_id", "mirbase", "homeodb", "snornabase", "bioparadigms_slc", "orphanet", "pseudogene.org",
    "horde_id", "merops", "imgt", "iuphar", "kznf_gene_catalog", "mamit-trnadb", "cd", "lncrnadb", "enzyme_id", "intermediate_filament_db",
    "rna_central_id", "lncipedia", "gtrnadb", "agr", "mane_select", "gencc",
)  # fmt: skip
RENAMED_SHARE = 0.03
ALIASED_SHARE = 0.03
SHARED_ALIAS = "SHAREDALIAS"


def _uniprot(index: int) -> str:
    """Make an accession of the usual six characters (letter, digit, three letters or digits, digit); distinct below 260,000."""
    letter = chr(ord("A") + index // 10_000)
    return f"Q{index // 1000 % 10}{letter}{index // 10 % 100:02d}{index % 10}"


def identify_genes(plan: ScreenPlan) -> pd.DataFrame:
    """List the identifiers of every gene of the screen.

    Parameters
    ----------
    plan
        The screen.

    Returns
    -------
    pandas.DataFrame
        The rows of `plan.genes` with, beside its columns, hgnc_id, entrez, uniprot, ensp, previous (symbol, "" if none), alias (joined by
        vertical bars) and old (the symbol in resources that lag behind: the previous one where there is one).
    """
    rng = random_stream(plan.seed, "identifiers")
    table = plan.genes.copy()
    num_genes, num_network = len(table), plan.network.num_genes
    index = np.arange(num_genes)
    table["hgnc_id"] = [f"HGNC:{900_001 + i}" for i in index]
    table["entrez"] = [str(990_000_001 + i) for i in index]
    table["uniprot"] = [_uniprot(i) for i in range(num_genes)]
    table["ensp"] = [f"9606.ENSP{9_000_000_001 + i:011d}" for i in index]
    previous_of = {new: old for old, new in NEW_SYMBOLS.items()}
    table["previous"] = table["gene"].map(previous_of).fillna("")
    table["alias"] = ""
    renamed = rng.permutation(num_network)[: max(3, round(RENAMED_SHARE * num_network))]
    table.loc[renamed, "previous"] = [f"OLD{i + 1:04d}" for i in renamed]
    aliased = rng.permutation(num_network)[: max(4, round(ALIASED_SHARE * num_network))]
    table.loc[aliased, "alias"] = [f"ALIAS{i + 1:04d}" for i in aliased]
    table.loc[aliased[:2], "alias"] += f"|{SHARED_ALIAS}"
    table.loc[aliased[2], "alias"] += "|" + table.loc[aliased[3], "gene"]
    table["old"] = table["previous"].where(table["previous"] != "", table["gene"])
    return table


def hgnc_table(identified: pd.DataFrame) -> str:
    """Make an HGNC complete set: 54 tab-separated columns, lists ``|``-joined and quoted.

    Parameters
    ----------
    identified
        Table of :func:`identify_genes`.
    """
    rows = ["\t".join(HGNC_COLUMNS)]
    for gene in identified.sort_values("gene").itertuples(index=False):
        is_coding = gene.kind != "mito"
        filled = {
            "hgnc_id": gene.hgnc_id,
            "symbol": gene.gene,
            "name": f"simulated gene {gene.gene}",
            "locus_group": "protein-coding gene",
            "locus_type": "gene with protein product",
            "status": "Approved",
            "location": "1p36" if is_coding else "mitochondria",
            "alias_symbol": gene.alias,
            "prev_symbol": gene.previous,
            "date_approved_reserved": "2020-01-01",
            "entrez_id": gene.entrez,
            "ensembl_gene_id": gene.gene_id,
            "uniprot_ids": gene.uniprot,
            "agr": gene.hgnc_id,
        }
        values = (filled.get(column, "") for column in HGNC_COLUMNS)
        rows.append("\t".join(f'"{value}"' if "|" in value else value for value in values))
    return "\n".join(rows) + "\n"
