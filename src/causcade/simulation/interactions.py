"""Simulated physical interactions, complexes and pathways, in the formats of STRING, Complex Portal, hu.MAP and Reactome.

They are enriched for pairs that the network connects or that share a regulator, as the real ones are, and hold much else: references
that test a network without being one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from causcade.simulation.network import random_stream
from causcade.simulation.screen import ScreenPlan

__all__ = ["COMPLEXTAB_COLUMNS", "complexportal_table", "draw_complexes", "humap_table", "reactome_table", "string_info_table", "string_table"]

COMPLEXTAB_COLUMNS = (
    "#Complex ac", "Recommended name", "Aliases for complex", "Taxonomy identifier", "Identifiers (and stoichiometry) of molecules in complex",
    "Evidence Code", "Experimental evidence", "Go Annotations", "Cross references", "Description", "Complex properties", "Complex assembly",
    "Ligand", "Disease", "Agonist", "Antagonist", "Comment", "Source", "Expanded participant list",
)  # fmt: skip
GENES_PER_COMPLEX = 12  # one complex for so many genes of the network
GENES_PER_PATHWAY = 17
STRING_EDGE_SHARE = 0.18  # of the true edges, those whose genes also interact physically
STRING_COMPLEX_SHARE = 0.7
STRING_RANDOM_PER_GENE = 1.2
CITED_SHARE = 0.93  # of the complexes, as in the real ones
CITED_BY_BOTH_SHARE = 0.5  # of the listed edges among the members of a complex, those of which it cites a publication
MANUAL_EVIDENCE = (
    "ECO:0005547(biological system reconstruction evidence based on inference from background scientific knowledge used in manual assertion)"
)


def draw_complexes(plan: ScreenPlan) -> list[tuple[int, ...]]:
    """Draw protein complexes as tuples of gene indices, two to six members each.

    About half are genes with a common regulator, a third a regulator with a target and its other regulators, the rest random.

    Parameters
    ----------
    plan
        The screen.
    """
    rng = random_stream(plan.seed, "complexes")
    regulator, target, _ = plan.network.edges()
    hubs = np.flatnonzero(np.bincount(regulator) >= 3)
    complexes = []
    for _ in range(max(4, plan.network.num_genes // GENES_PER_COMPLEX)):
        kind = rng.choice(3, p=[0.52, 0.33, 0.15])
        if kind == 0:
            members = rng.permutation(target[regulator == rng.choice(hubs)])[: int(rng.integers(2, 7))]
        elif kind == 1:
            edge = rng.integers(len(regulator))
            members = np.concatenate([[regulator[edge], target[edge]], regulator[target == target[edge]]])
        else:
            members = rng.choice(plan.network.num_genes, int(rng.integers(2, 5)), replace=False)
        complexes.append(tuple(sorted({int(gene) for gene in members})))
    return complexes


def string_table(plan: ScreenPlan, complexes: list[tuple[int, ...]], proteins: np.ndarray) -> str:
    """Make STRING physical links: space-separated, each pair in both directions, scores 150 to 999.

    Parameters
    ----------
    plan
        The screen.
    complexes
        From :func:`draw_complexes`.
    proteins
        Protein id of each gene; one more protein that the info file lacks is added.
    """
    rng = random_stream(plan.seed, "string")
    scores: dict[tuple[int, int], int] = {}
    num_genes = plan.network.num_genes
    for _ in range(round(STRING_RANDOM_PER_GENE * num_genes)):
        first, second = sorted(rng.choice(num_genes, 2, replace=False).tolist())
        scores[first, second] = min(999, 150 + int(rng.exponential(250)))
    regulator, target, _ = plan.network.edges()
    for edge in np.flatnonzero(rng.random(len(regulator)) < STRING_EDGE_SHARE):
        first, second = sorted((int(regulator[edge]), int(target[edge])))
        scores[first, second] = int(rng.integers(550, 1000))
    for first, second in sorted({pair for members in complexes for pair in combinations(members, 2)}):
        if rng.random() < STRING_COMPLEX_SHARE:
            scores[first, second] = int(rng.integers(700, 1000))
    named = {(proteins[first], proteins[second]): score for (first, second), score in scores.items()}
    named["9606.ENSP09999999999", proteins[0]] = 900
    both = {**named, **{(second, first): score for (first, second), score in named.items()}}
    return "\n".join(["protein1 protein2 combined_score", *(f"{a} {b} {score}" for (a, b), score in sorted(both.items()))]) + "\n"


def string_info_table(identified: pd.DataFrame) -> str:
    """Make STRING protein info: tab-separated, id, preferred name (old for renamed genes), size, annotation."""
    rows = [
        f"{gene.ensp}\t{gene.old}\t{100 + number % 900}\tSimulated protein {gene.gene}; not a real one."
        for number, gene in enumerate(identified.itertuples(index=False))
    ]
    return "\n".join(["#string_protein_id\tpreferred_name\tprotein_size\tannotation", *rows]) + "\n"


def _publications(rng: np.random.Generator, members: tuple[int, ...], cited: Mapping[frozenset[int], Sequence[str]]) -> list[str]:
    """PubMed ids of a complex; some are those that a prior cites for an edge within it, since curators read the same papers."""
    if rng.random() > CITED_SHARE:
        return []
    ids = {str(number) for number in rng.integers(9_000_000, 38_000_000, int(rng.integers(1, 4)))}
    for pair in combinations(members, 2):
        known = cited.get(frozenset(pair), ())
        if known and rng.random() < CITED_BY_BOTH_SHARE:
            ids.add(str(rng.choice(list(known))))
    return sorted(ids)


def _complextab_row(number: int, participants: list[str], expanded: list[str], name: str, literature: Sequence[str] = ()) -> str:
    accession = f"CPX-{90_001 + number}"
    references = [f"complex portal:{accession}(complex-primary)", *(f"pubmed:{one}(see-also)" for one in literature)]
    values = dict.fromkeys(COMPLEXTAB_COLUMNS, "-")
    values |= {
        "#Complex ac": accession,
        "Recommended name": name,
        "Taxonomy identifier": "9606",
        "Identifiers (and stoichiometry) of molecules in complex": "|".join(participants),
        "Evidence Code": MANUAL_EVIDENCE,
        "Cross references": "|".join(references),
        "Description": "Simulated complex.",
        "Source": 'psi-mi:"MI:0469"(IntAct)',
        "Expanded participant list": "|".join(expanded),
    }
    return "\t".join(values.values())


def complexportal_table(
    plan: ScreenPlan, complexes: list[tuple[int, ...]], uniprot: np.ndarray, cited: Mapping[frozenset[int], Sequence[str]]
) -> str:
    """Make ComplexTAB: 19 columns, participants as accession(stoichiometry) joined by ``|``.

    Among the rows: isoforms, chains, a small molecule, an RNA, a nested complex, a molecule set, a homomer.

    Parameters
    ----------
    plan
        The screen.
    complexes
        From :func:`draw_complexes`; six in ten are listed.
    uniprot
        Accession of each gene.
    cited
        PubMed ids that a prior cites for a pair of genes; some of them are cited here too.
    """
    rng, papers = random_stream(plan.seed, "complexportal"), random_stream(plan.seed, "complexportal literature")
    rows = []
    for number, members in enumerate(complexes):
        if rng.random() > 0.6 and number > 3:
            continue
        accessions = [f"{uniprot[gene]}({int(rng.choice([0, 1, 1, 2]))})" for gene in members]
        expanded, extra = list(accessions), []
        if number == 0:
            accessions[0] = expanded[0] = f"{uniprot[members[0]]}-2(1)"
            extra = ["CHEBI:29035(1)"]
        elif number == 1:
            accessions[0] = expanded[0] = f"{uniprot[members[0]]}-PRO_0000025591(1)"
            extra = ["URS00004A7003_9606(2)"]
        elif number == 2:
            extra = [f"CPX-{90_001}(1)"]
            expanded += [f"{uniprot[gene]}(1)" for gene in complexes[0]]
        elif number == 3:
            extra = [f"[{uniprot[complexes[0][0]]},{uniprot[complexes[1][0]]}](1)"]
            expanded += extra
        literature = _publications(papers, members, cited)
        rows.append(_complextab_row(number, accessions + extra, expanded, f"simulated complex {number + 1}", literature))
    homomer = [f"{uniprot[plan.network.num_regulators]}(2)"]
    rows.append(_complextab_row(len(complexes), homomer, homomer, "simulated homodimer"))
    return "\n".join(["\t".join(COMPLEXTAB_COLUMNS), *rows]) + "\n"


def humap_table(plan: ScreenPlan, complexes: list[tuple[int, ...]], identified: pd.DataFrame) -> str:
    """Make hu.MAP 2: csv of id, confidence (1 best, 5 worst), accessions and names; the two lists are in different order.

    Good classes are mostly complexes of :func:`draw_complexes`, some with a member too many; bad classes are random; one complex has a single member.
    """
    rng = random_stream(plan.seed, "humap")
    num_genes = plan.network.num_genes
    drawn = []
    for members in complexes:
        if rng.random() < 0.65:
            extra = rng.choice(num_genes, int(rng.random() < 0.3))
            drawn.append((int(rng.choice([1, 2, 3, 4], p=[0.2, 0.4, 0.3, 0.1])), sorted({*members, *extra.tolist()})))
    drawn += [
        (int(rng.choice([3, 4, 5], p=[0.1, 0.4, 0.5])), rng.choice(num_genes, int(rng.integers(2, 6)), replace=False).tolist()) for _ in complexes
    ]
    drawn.append((2, [int(rng.integers(num_genes))]))
    rows = ["HuMAP2_ID,Confidence,Uniprot_ACCs,genenames"]
    accessions, names = identified["uniprot"].to_numpy(), identified["old"].to_numpy()
    for number, (confidence, together) in enumerate(drawn):
        rows.append(
            f"HuMAP2_{number:05d},{confidence},{' '.join(accessions[rng.permutation(together)])},{' '.join(names[rng.permutation(together)])}"
        )
    return "\n".join(rows) + "\n"


def reactome_table(plan: ScreenPlan) -> str:
    """Make the Reactome gmt: name, id, symbols; pathways around regulators, a parent that holds many, and tokens that are no genes.

    Parameters
    ----------
    plan
        The screen.
    """
    rng = random_stream(plan.seed, "reactome")
    symbols = plan.genes["gene"].to_numpy()
    regulator, target, _ = plan.network.edges()
    hubs = np.flatnonzero(np.bincount(regulator) >= 4)
    rows, everything = [], set()
    for number in range(max(5, plan.network.num_genes // GENES_PER_PATHWAY)):
        hub = int(rng.choice(hubs))
        followers = rng.permutation(target[regulator == hub])[: int(rng.integers(3, 11))]
        strangers = rng.choice(plan.network.num_genes, int(rng.integers(2, 7)), replace=False)
        members = {hub, *followers.tolist(), *strangers.tolist()}
        everything |= members
        tokens = ["gag", "miR-224", "5S rRNA"] if number == 0 else []
        rows.append("\t".join([f"Simulated pathway {number + 1}", f"R-HSA-{99_000_001 + number}", *symbols[sorted(members)], *tokens]))
    # A parent holds its children's genes: too large for its pairs to mean anything.
    parent = sorted(everything | set(range(min(plan.network.num_genes, 150))))
    rows.append("\t".join(["Simulated signal transduction", "R-HSA-99900000", *symbols[parent]]))
    return "\n".join(rows) + "\n"
