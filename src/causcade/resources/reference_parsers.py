"""Parsers of the references that a network is held against: STRING, Complex Portal, Reactome. Those of hu.MAP have a module of their own.

Each returns its rows as they are in the file; cut-offs and translation to genes come later. Sources: STRING 12 (Szklarczyk et al. 2023,
doi:10.1093/nar/gkac1000), Complex Portal (Meldal et al. 2022, doi:10.1093/nar/gkab991), Reactome (Milacic et al. 2024, doi:10.1093/nar/gkad1025).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from causcade.errors import ResourceError
from causcade.resources.reading import ResourcePath, fetch_again, read_delimited, read_text, require_columns
from causcade.resources.set_parsers import parse_gmt

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MEMBER_COLUMNS", "parse_complexportal", "parse_reactome", "parse_reactome_relations", "parse_string", "parse_string_info"]

STRING_COLUMNS = ["protein1", "protein2", "combined_score"]
STRING_REMEDY = "Use the species file of STRING's physical links (9606.protein.physical.links.v12.0.txt.gz)."
INFO_COLUMNS = ["#string_protein_id", "preferred_name"]
INFO_REMEDY = "Use STRING's protein information (9606.protein.info.v12.0.txt.gz), of the same version as the links."
RELATION_COLUMNS = ["parent", "child"]
RELATION_REMEDY = "Use Reactome's hierarchy (ReactomePathwaysRelation.txt: parent and child, separated by a tab, no header)."
PARTICIPANTS = "Identifiers (and stoichiometry) of molecules in complex"
EXPANDED = "Expanded participant list"
COMPLEXTAB_COLUMNS = ["#Complex ac", PARTICIPANTS, EXPANDED]
DERIVED_COLUMNS = ["complex_ac", "participants"]
COMPLEX_REMEDY = "Use Complex Portal's ComplexTAB of the species (9606.tsv), or a tsv with the columns complex_ac and participants."
MEMBER_COLUMNS = ["complex", "identifier", "kind", "choice"]

PROTEIN = re.compile(r"(?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})(?:-\d+|-PRO_\d+)?$")
STOICHIOMETRY = re.compile(r"\(\d+(?:-\d+)?\)$")


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


def _kind(token: str) -> str:
    """Tell what a participant is: protein, rna, small_molecule, complex or other."""
    if PROTEIN.match(token):
        return "protein"
    if token.startswith("URS"):
        return "rna"
    if token.startswith("CHEBI:"):
        return "small_molecule"
    if token.startswith("CPX-"):
        return "complex"
    return "other"


def _tokens(participants: str) -> list[tuple[str, int]]:
    """Participants of one complex as (identifier, choice); the alternatives of a molecule set share a choice above 0."""
    tokens: list[tuple[str, int]] = []
    choice = 0
    for participant in participants.split("|"):
        bare = STOICHIOMETRY.sub("", participant.strip())
        if bare.startswith("[") and bare.endswith("]"):
            choice += 1
            tokens.extend((item.strip(), choice) for item in bare[1:-1].split(",") if item.strip())
        elif bare and bare != "-":
            tokens.append((bare, 0))
    return tokens


def _flatten(complex_ac: str, participants: dict[str, str], above: tuple[str, ...] = ()) -> list[tuple[str, int]]:
    """Participants of a complex with nested complexes of the same file put in their place; unknown and circular ones stay."""
    flat: list[tuple[str, int]] = []
    tokens = _tokens(participants[complex_ac])
    highest = max((choice for _, choice in tokens), default=0)
    for identifier, choice in tokens:
        if _kind(identifier) == "complex" and identifier in participants and identifier not in (*above, complex_ac):
            inner = _flatten(identifier, participants, (*above, complex_ac))
            # A complex that is itself an alternative: its members share that choice. Otherwise its own choices get numbers of their own.
            flat.extend((name, choice or (number + highest if number else 0)) for name, number in inner)
            highest += max((number for _, number in inner), default=0)
        else:
            flat.append((identifier, choice))
    return flat


def parse_complexportal(path: ResourcePath) -> pd.DataFrame:
    """Read Complex Portal's ComplexTAB, or a table of participants (complex_ac, participants joined by "|").

    Membership comes from column 19 ("Expanded participant list"), where nested complexes are flattened already; where it is "-", from
    column 5, and nested complexes are then looked up in the same file.

    Returns
    -------
    pandas.DataFrame
        One row per complex and participant: complex, identifier (without stoichiometry), kind (protein, rna, small_molecule, complex,
        other), choice (int; 0, or the number of the molecule set `[A,B]` of which any ONE takes part: its members are no pair).
    """
    import pandas as pd

    header = [column.strip() for column in read_text(path, "complexportal").split("\n", 1)[0].split("\t")]
    if "complex_ac" in header:
        table = read_delimited(path, "complexportal", separator="\t", expected=DERIVED_COLUMNS, quoted=False, remedy=COMPLEX_REMEDY)
        ids, listed = table["complex_ac"], table["participants"]
    else:
        table = read_delimited(path, "complexportal", separator="\t", expected=COMPLEXTAB_COLUMNS, quoted=False, remedy=COMPLEX_REMEDY)
        ids, expanded = table["#Complex ac"], table[EXPANDED].str.strip()
        listed = expanded.where(~expanded.isin(["-", ""]), table[PARTICIPANTS])
    participants = dict(zip(ids, listed, strict=True))
    rows = [(name, identifier, _kind(identifier), choice) for name in participants for identifier, choice in _flatten(name, participants)]
    return pd.DataFrame(rows, columns=MEMBER_COLUMNS)


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
