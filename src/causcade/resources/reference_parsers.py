"""Parsers of the references that a network is held against: STRING, Reactome. Those of Complex Portal and hu.MAP have modules of their own.

Each returns its rows as they are in the file; cut-offs and translation to genes come later. Neither file names publications. Sources: STRING 12
(Szklarczyk et al. 2023, doi:10.1093/nar/gkac1000), Reactome (Milacic et al. 2024, doi:10.1093/nar/gkad1025).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from causcade.errors import ResourceError
from causcade.resources.reading import ResourcePath, fetch_again, read_delimited, require_columns
from causcade.resources.set_parsers import parse_gmt

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["parse_reactome", "parse_reactome_relations", "parse_string", "parse_string_info"]

STRING_COLUMNS = ["protein1", "protein2", "combined_score"]
STRING_REMEDY = "Use the species file of STRING's physical links (9606.protein.physical.links.v12.0.txt.gz)."
INFO_COLUMNS = ["#string_protein_id", "preferred_name"]
INFO_REMEDY = "Use STRING's protein information (9606.protein.info.v12.0.txt.gz), of the same version as the links."
RELATION_COLUMNS = ["parent", "child"]
RELATION_REMEDY = "Use Reactome's hierarchy (ReactomePathwaysRelation.txt: parent and child, separated by a tab, no header)."


def parse_string(path: ResourcePath) -> pd.DataFrame:
    """Read STRING physical links (separated by spaces; every pair stands there in both directions).

    Returns
    -------
    pandas.DataFrame
        protein1, protein2 (`9606.ENSP...`), combined_score (int, 150-999).
    """
    import pandas as pd

    table = read_delimited(path, "string", separator=" ", expected=STRING_COLUMNS, quoted=False, remedy=STRING_REMEDY)
    score = pd.to_numeric(table["combined_score"], errors="coerce")
    if score.isna().any():
        bad = table["combined_score"][score.isna()].iloc[0]
        raise ResourceError(f"{path}: expected an integer combined_score, found {bad!r}. {fetch_again('string')}")
    return table[["protein1", "protein2"]].assign(combined_score=score.astype("int32"))


def parse_string_info(path: ResourcePath) -> pd.DataFrame:
    """Read STRING's protein information.

    Returns
    -------
    pandas.DataFrame
        protein (`9606.ENSP...`, unique), symbol (STRING's preferred name).
    """
    table = read_delimited(path, "string_info", separator="\t", expected=INFO_COLUMNS, quoted=False, remedy=INFO_REMEDY)
    return table[INFO_COLUMNS].set_axis(["protein", "symbol"], axis=1).drop_duplicates("protein", ignore_index=True)


def parse_reactome(path: ResourcePath) -> pd.DataFrame:
    """Read Reactome's gmt, plain or in the zip that it is served in (name, R-HSA id, symbols).

    Its tokens are not only human genes (`gag`, `miR-224`, `5S rRNA`): they are dropped where they resolve to none.

    Returns
    -------
    pandas.DataFrame
        gene_set (name; with the id in brackets where two pathways share a name), pathway (R-HSA id), identifier.
    """
    sets = parse_gmt(path, "reactome")
    if not sets["description"].str.startswith("R-").all():
        bad = sets["description"][~sets["description"].str.startswith("R-")].iloc[0]
        require_columns(path, [f"name, {bad!r}, symbols"], ["name, Reactome id, symbols"], "Use ReactomePathways.gmt.zip.")
    shared = sets.groupby("gene_set")["description"].transform("nunique") > 1
    name = sets["gene_set"].where(~shared, sets["gene_set"] + " (" + sets["description"] + ")")
    return sets.assign(gene_set=name, pathway=sets["description"])[["gene_set", "pathway", "identifier"]]


def parse_reactome_relations(path: ResourcePath) -> pd.DataFrame:
    """Read Reactome's hierarchy of pathways, of all species.

    Returns
    -------
    pandas.DataFrame
        parent, child (ids such as `R-HSA-109581`).
    """
    table = read_delimited(path, "reactome_relations", separator="\t", expected=RELATION_COLUMNS, header=False, quoted=False, remedy=RELATION_REMEDY)
    strange = ~(table["parent"].str.startswith("R-") & table["child"].str.startswith("R-"))
    if strange.any():
        row = table[strange].iloc[0]
        raise ResourceError(f"{path}: expected Reactome ids (R-HSA-...), found {row['parent']!r}, {row['child']!r}. {RELATION_REMEDY}")
    return table
