"""Curated resources: official address, version and licence of each, declared once.

The configuration takes its defaults from here; :mod:`causcade.resources` holds the parsers. Addresses were taken from the resources' own
documentation; a default run never needs them, since the simulated screen brings its own files.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CATALOGUE", "SIMULATED_FILES", "CatalogueEntry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One resource: what it is, where it is, under which terms."""

    description: str
    url: str
    version: str
    licence: str
    file_name: str
    is_optional: bool = False
    """Whether the configuration leaves it out unless it is asked for."""


CATALOGUE: dict[str, CatalogueEntry] = {
    "hgnc": CatalogueEntry(
        description="HGNC complete set (gene symbols and identifiers).",
        url="https://storage.googleapis.com/public-download-files/hgnc/tsv/tsv/hgnc_complete_set.txt",
        version="current",
        licence="CC0",
        file_name="hgnc_complete_set.txt",
    ),
    "collectri": CatalogueEntry(
        description="CollecTRI regulons (csv of decoupler, or OmniPath's raw interactions).",
        url="https://rescued.omnipathdb.org/CollecTRI.csv",
        version="2023",
        licence="composite, see its sources",
        file_name="collectri.csv",
    ),
    "dorothea": CatalogueEntry(
        description="DoRothEA regulons with confidence A-E (rda or tsv of its columns, csv of decoupler, or OmniPath's raw interactions).",
        url="https://github.com/saezlab/dorothea/raw/master/data/dorothea_hs.rda",
        version="2024",
        licence="composite, see its sources",
        file_name="dorothea_hs.rda",
    ),
    "trrust": CatalogueEntry(
        description="TRRUST v2, human (TF, target, mode, literature).",
        url="https://www.grnpedia.org/trrust/data/trrust_rawdata.human.tsv",
        version="2",
        licence="CC BY-SA 4.0",
        file_name="trrust_rawdata.human.tsv",
    ),
    "string": CatalogueEntry(
        description="STRING physical links, human.",
        url="https://stringdb-downloads.org/download/protein.physical.links.v12.0/9606.protein.physical.links.v12.0.txt.gz",
        version="12.0",
        licence="CC BY 4.0",
        file_name="9606.protein.physical.links.txt.gz",
    ),
    "string_info": CatalogueEntry(
        description="STRING protein names, human.",
        url="https://stringdb-downloads.org/download/protein.info.v12.0/9606.protein.info.v12.0.txt.gz",
        version="12.0",
        licence="CC BY 4.0",
        file_name="9606.protein.info.txt.gz",
    ),
    "complexportal": CatalogueEntry(
        description="Complex Portal, human, curated (ComplexTAB).",
        url="https://ftp.ebi.ac.uk/pub/databases/intact/complex/current/complextab/9606.tsv",
        version="current",
        licence="CC0",
        file_name="9606.tsv",
    ),
    "humap": CatalogueEntry(
        description="hu.MAP 2.0 complexes (csv), or its pairs with probabilities.",
        url="http://humap2.proteincomplexes.org/static/downloads/humap2/humap2_complexes_20200809.txt",
        version="2.0",
        licence="CC BY 4.0",
        file_name="humap2_complexes.txt",
    ),
    "humap3": CatalogueEntry(
        description="hu.MAP 3.0 complexes (csv), beside or instead of hu.MAP 2.0.",
        url="https://humap3.proteincomplexes.org/static/downloads/humap3/hu.MAP3.0_complexes_wConfidenceScores_total15326_wGenenames_20240922.csv",
        version="3.0",
        licence="CC BY 4.0",
        file_name="humap3_complexes.csv",
        is_optional=True,
    ),
    "reactome": CatalogueEntry(
        description="Reactome pathways (gmt, or the zip that it is served in).",
        url="https://reactome.org/download/current/ReactomePathways.gmt.zip",
        version="current",
        licence="CC0",
        file_name="ReactomePathways.gmt.zip",
    ),
    "reactome_relations": CatalogueEntry(
        description="Hierarchy of Reactome's pathways, for `reactome_pathways: leaves`.",
        url="https://reactome.org/download/current/ReactomePathwaysRelation.txt",
        version="current",
        licence="CC0",
        file_name="ReactomePathwaysRelation.txt",
        is_optional=True,
    ),
    "tfs": CatalogueEntry(
        description="Human transcription factors (Lambert 2018; one symbol per line).",
        url="http://humantfs.ccbr.utoronto.ca/download/v_1.01/TF_names_v_1.01.txt",
        version="1.01",
        licence="fetched at run time, not shipped",
        file_name="TF_names.txt",
    ),
    "rbps": CatalogueEntry(
        description="RNA-binding proteins (gmt; its set GO_RNA_BINDING, or one symbol per line).",
        url="https://data.broadinstitute.org/gsea-msigdb/msigdb/release/7.0/c5.mf.v7.0.symbols.gmt",
        version="7.0",
        licence="CC BY 4.0",
        file_name="c5.mf.symbols.gmt",
    ),
    "hallmarks": CatalogueEntry(
        description="MSigDB hallmark gene sets (gmt).",
        url="https://data.broadinstitute.org/gsea-msigdb/msigdb/release/7.0/h.all.v7.0.symbols.gmt",
        version="7.0",
        licence="CC BY 4.0",
        file_name="h.all.symbols.gmt",
    ),
    "drug_targets": CatalogueEntry(
        description="Targets of drugs (Tahoe-100M's drug table, or tsv/csv/parquet: perturbation, target, sign).",
        url="https://huggingface.co/datasets/tahoebio/Tahoe-100M/resolve/main/metadata/drug_metadata.parquet",
        version="current",
        licence="CC0",
        file_name="drug_metadata.parquet",
    ),
}

SIMULATED_FILES: dict[str, str] = {
    "hgnc": "hgnc_complete_set.txt",
    "collectri": "collectri.csv",
    "dorothea": "dorothea_hs.tsv",
    "trrust": "trrust_rawdata.human.tsv",
    "string": "9606.protein.physical.links.txt.gz",
    "string_info": "9606.protein.info.txt.gz",
    "complexportal": "9606.tsv",
    "humap": "humap2_complexes.txt",
    "reactome": "ReactomePathways.gmt",
    "tfs": "TF_names.txt",
    "rbps": "c5.mf.symbols.gmt",
    "hallmarks": "h.all.symbols.gmt",
    "drug_targets": "drug_metadata.parquet",
}
"""File names, below `simulation/resources/`, of the same resources in the simulated screen, which has no optional ones."""
