"""Parsers of Complex Portal: ComplexTAB, its export as an OBO graph, or a table of participants (Meldal et al. 2022, doi:10.1093/nar/gkab991).

All give members of complexes and the publications that the entry of the complex cites. In ComplexTAB these are the `pubmed:` items of column 9
("Cross references"), in the OBO graph the references of the definition; preprints (`pubmed:PPR59167`) have no PubMed id and are left out. Column 7
("Experimental evidence") holds accessions of IntAct and no publications.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from causcade.errors import ResourceError
from causcade.resources.literature import pubmed_ids
from causcade.resources.reading import ResourcePath, fetch_again, read_delimited, read_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MEMBER_COLUMNS", "parse_complexportal"]

PARTICIPANTS = "Identifiers (and stoichiometry) of molecules in complex"
EXPANDED = "Expanded participant list"
CROSS_REFERENCES = "Cross references"
COMPLEXTAB_COLUMNS = ["#Complex ac", PARTICIPANTS, EXPANDED]
DERIVED_COLUMNS = ["complex_ac", "participants"]
COMPLEX_REMEDY = (
    "Use Complex Portal's ComplexTAB of the species (9606.tsv), its OBO graph (complexportal.json), or a tsv with the columns complex_ac and "
    "participants."
)
MEMBER_COLUMNS = ["complex", "identifier", "kind", "choice", "literature"]

PROTEIN = re.compile(r"(?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})(?:-\d+|-PRO_\d+)?$")
STOICHIOMETRY = re.compile(r"\(\d+(?:-\d+)?\)$")
PUBMED = re.compile(r"\bpubmed:\s*(\d+)", re.IGNORECASE)

HAS_PART, IN_TAXON = "BFO_0000051", "RO_0002162"
HUMAN = "NCBITaxon_9606"
IN_GRAPH = "complexportal_"
PREFIXES = {"uniprot_": "", "uniprot#_": "", "CHEBI_": "CHEBI:", IN_GRAPH: ""}
"""Beginnings of names in the graph (chains have one of their own) and what stands there in ComplexTAB."""


class Entry(NamedTuple):
    """What a complex has."""

    participants: str
    """Joined by "|"."""
    literature: str
    """PubMed ids, joined by ";"."""


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


def _flatten(complex_ac: str, entries: dict[str, Entry], above: tuple[str, ...] = ()) -> list[tuple[str, int]]:
    """Participants of a complex with nested complexes of the same file put in their place; unknown and circular ones stay."""
    flat: list[tuple[str, int]] = []
    tokens = _tokens(entries[complex_ac].participants)
    highest = max((choice for _, choice in tokens), default=0)
    for identifier, choice in tokens:
        if _kind(identifier) == "complex" and identifier in entries and identifier not in (*above, complex_ac):
            inner = _flatten(identifier, entries, (*above, complex_ac))
            # A complex that is itself an alternative: its members share that choice. Otherwise its own choices get numbers of their own.
            flat.extend((name, choice or (number + highest if number else 0)) for name, number in inner)
            highest += max((number for _, number in inner), default=0)
        else:
            flat.append((identifier, choice))
    return flat


def _cited(text: str) -> str:
    """Publications among cross references (`pubmed:16322555(see-also)|wwpdb:1U7V(subset)`)."""
    return pubmed_ids(";".join(PUBMED.findall(text)))


def _name(address: str) -> str:
    """Name of a node of the graph as ComplexTAB has it; sets of molecules are encoded as in an address there (`%5BA%2CB%5D`)."""
    last = unquote(address.rsplit("/", 1)[-1])
    prefix = next((prefix for prefix in PREFIXES if last.startswith(prefix)), "")
    return PREFIXES.get(prefix, "") + last.removeprefix(prefix)


def _graph_entries(path: ResourcePath, text: str) -> dict[str, Entry]:
    """Human complexes of an OBO graph."""
    try:
        (graph,) = json.loads(text)["graphs"]
        nodes, edges = graph["nodes"], graph["edges"]
        members: dict[str, list[str]] = {}
        human = set()
        for edge in edges:
            if edge["pred"].endswith(HAS_PART):
                members.setdefault(edge["sub"], []).append(_name(edge["obj"]))
            elif edge["pred"].endswith(IN_TAXON) and edge["obj"].endswith(HUMAN):
                human.add(edge["sub"])
        found = {_name(node["id"]): Entry("|".join(members.get(node["id"], [])), _node_literature(node)) for node in nodes if node["id"] in human}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResourceError(f"{path}: expected an OBO graph, found JSON of another form ({error}). {fetch_again('complexportal')}") from None
    if not found:
        raise ResourceError(f"{path}: expected human complexes ({HUMAN}) in the graph, found none. {COMPLEX_REMEDY}")
    return found


def _node_literature(node: dict[str, Any]) -> str:
    return _cited("|".join(node.get("meta", {}).get("definition", {}).get("xrefs", [])))


def _table_entries(path: ResourcePath, text: str) -> dict[str, Entry]:
    """Complexes of ComplexTAB or of a table of participants."""
    header = [column.strip() for column in text.split("\n", 1)[0].split("\t")]
    is_derived = "complex_ac" in header
    expected, cites = (DERIVED_COLUMNS, "literature") if is_derived else (COMPLEXTAB_COLUMNS, CROSS_REFERENCES)
    table = read_delimited(path, "complexportal", separator="\t", expected=expected, optional=[cites], quoted=False, remedy=COMPLEX_REMEDY)
    if is_derived:
        ids, listed = table["complex_ac"], table["participants"]
    else:
        ids, expanded = table["#Complex ac"], table[EXPANDED].str.strip()
        listed = expanded.where(~expanded.isin(["-", ""]), table[PARTICIPANTS])
    read = pubmed_ids if is_derived else _cited
    literature = [read(text) for text in table[cites]] if cites in table else [""] * len(table)
    return {name: Entry(participants, cited) for name, participants, cited in zip(ids, listed, literature, strict=True)}


def parse_complexportal(path: ResourcePath) -> pd.DataFrame:
    """Read Complex Portal's ComplexTAB, its OBO graph (human complexes), or a table (complex_ac, participants joined by "|", maybe literature).

    Membership comes from ComplexTAB's column 19 ("Expanded participant list"), where nested complexes are flattened already; where it is "-", from
    column 5, and nested complexes are then looked up in the same file, as they are in the other forms.

    Returns
    -------
    pandas.DataFrame
        One row per complex and participant: complex, identifier (without stoichiometry), kind (protein, rna, small_molecule, complex,
        other), choice (int; 0, or the number of the molecule set `[A,B]` of which any ONE takes part: its members are no pair), literature (PubMed
        ids of the complex, joined by ";", maybe none; those of a complex within it are not counted as its own).

    Raises
    ------
    ResourceError
        If the file has none of these forms, or the graph no human complex.
    """
    import pandas as pd

    text = read_text(path, "complexportal")
    entries = _graph_entries(path, text) if text.lstrip().startswith("{") else _table_entries(path, text)
    rows = [
        (name, identifier, _kind(identifier), choice, entry.literature)
        for name, entry in entries.items()
        for identifier, choice in _flatten(name, entries)
    ]
    return pd.DataFrame(rows, columns=MEMBER_COLUMNS)
