"""What the parsers of curated resources find in real files, against what is known of those files, and what becomes of every row.

    python benchmarks/resources.py FOLDER [--output benchmarks/results/resources.json] [--page docs/resources.md]

FOLDER holds the files under the names of FILES. Both tables are written into the page, between its marks, and into the output.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from causcade import resources
from causcade.config import ResourcesConfig
from causcade.files import write_json, write_text
from causcade.resources import Resolver, ResourceFile, build_resources

HUMAP3 = "complexes/hu.MAP3.0_complexes_wConfidenceScores_total15326_wGenenames_20240922InOrderMatched.csv"
FILES = {
    "hgnc": "idmap/hgnc_complete_set.txt.gz",
    "collectri": "grn_priors/collectri.csv",
    "dorothea": "grn_priors/dorothea_hs.rda",
    "trrust": "grn_priors/trrust_rawdata.human.tsv",
    "string": "ppi/9606.protein.physical.links.v12.0.min700.partial.txt.gz",
    "string_info": "ppi/9606.protein.info.v12.0.txt.gz",
    "complexportal": "complexes/complexportal_9606_participants_2022-07-11.derived.tsv.gz",
    "humap": "complexes/humap2_complexes_20200809InOrderMatched.csv",
    "humap3": HUMAP3,
    "reactome": "reactome/ReactomePathways.gmt",
    "reactome_relations": "reactome/ReactomePathwaysRelation.r85plus.txt",
    "tfs": "gene_sets/TF_names_v_1.01.txt",
    "rbps": "gene_sets/c5.mf.v7.0.symbols.gmt",
    "hallmarks": "gene_sets/h.all.v7.0.symbols.gmt",
    "drug_targets": "tahoe/drug_metadata.parquet",
}
SIZE_LIMIT, BEST_CLASSES = 100, 3
ISOFORM = r"-(?:\d+|PRO_\d+)$"
NESTED = "the known number has each nested complex as one member; here its members stand in its place"
TOKENS = (
    "the known number counts 14 molecule sets, 15 RNAs, one name that is no accession and all nested complexes (as one); here these are left out and "
    "the 28 accessions in the sets counted"
)
AMBIGUOUS = "{} of them belong to several genes: reported, and lost"
Count = tuple[str, int, int, str]
"""What is counted, the known number, the found one, and the rule that explains a difference."""


def num_pairs(sets: Iterable[Iterable[str]]) -> int:
    """Count different pairs of different members."""
    return len({pair for members in sets for pair in itertools.combinations(sorted(set(members)), 2)})


def count_collectri(path: Path) -> list[Count]:
    rows = resources.parse_collectri(path)
    is_self = rows["regulator"] == rows["target"]
    return [
        ("rows", 43_178, len(rows), ""),
        ("TFs", 1_186, rows["regulator"].nunique(), ""),
        ("targets", 6_692, rows["target"].nunique(), ""),
        ("rows of sign +1", 37_326, int((rows["sign"] == 1).sum()), ""),
        ("rows of sign -1", 5_852, int((rows["sign"] == -1).sum()), ""),
        ("rows without literature", 185, int((rows["literature"] == "").sum()), ""),
        ("self-edges", 462, int(is_self.sum()), ""),
        ("targets of MYC", 888, int((rows["regulator"] == "MYC").sum()), ""),
    ]


def count_dorothea(known: dict[str, int], num_tfs: int | None) -> Callable[[Path], list[Count]]:
    def count(path: Path) -> list[Count]:
        rows = resources.parse_dorothea(path)
        found = rows["level"].value_counts()
        counts: list[Count] = [("rows", sum(known.values()), len(rows), "")]
        counts += [(f"rows of level {level}", number, int(found.get(level, 0)), "") for level, number in known.items()]
        return counts if num_tfs is None else [*counts, ("TFs", num_tfs, rows["regulator"].nunique(), "")]

    return count


def count_trrust(path: Path) -> list[Count]:
    rows = resources.parse_trrust(path)
    pairs = rows.groupby(["regulator", "target"])
    both = pairs["sign"].agg(lambda signs: {1, -1} <= set(signs))
    return [
        ("rows", 9_396, len(rows), ""),
        ("pairs", 8_427, pairs.ngroups, ""),
        ("TFs", 795, rows["regulator"].nunique(), ""),
        ("targets", 2_492, rows["target"].nunique(), ""),
        ("Unknown", 4_325, int((rows["sign"] == 0).sum()), ""),
        ("Activation", 3_149, int((rows["sign"] == 1).sum()), ""),
        ("Repression", 1_922, int((rows["sign"] == -1).sum()), ""),
        ("pairs of several rows", 853, int((pairs.size() > 1).sum()), ""),
        ("pairs with both signs", 207, int(both.sum()), ""),
    ]


def count_string(path: Path) -> list[Count]:
    rows = resources.parse_string(path)
    ordered = rows[["protein1", "protein2"]].to_numpy()
    return [
        ("rows", 116_942, len(rows), ""),
        ("pairs", 58_471, len({tuple(sorted(pair)) for pair in ordered}), ""),
        ("proteins", 9_034, len(set(ordered.ravel())), ""),
    ]


def count_complexportal(path: Path) -> list[Count]:
    rows = resources.parse_complexportal(path)
    proteins = rows[rows["kind"] == "protein"]
    bare = proteins.assign(identifier=proteins["identifier"].str.replace(ISOFORM, "", regex=True))
    sizes = bare.groupby("complex")["identifier"].nunique().reindex(rows["complex"].unique(), fill_value=0)
    return [
        ("complexes", 1_429, rows["complex"].nunique(), ""),
        ("complexes of two proteins or more", 1_236, int((sizes > 1).sum()), NESTED),
        ("complexes of one protein", 193, int((sizes == 1).sum()), NESTED),
        ("accessions", 2_422, bare["identifier"].nunique(), TOKENS),
    ]


def count_complextab(known: int) -> Callable[[Path], list[Count]]:
    return lambda path: [("complexes", known, resources.parse_complexportal(path)["complex"].nunique(), "")]


def count_humap(path: Path) -> list[Count]:
    rows = resources.parse_humap(path)
    by_class = rows.drop_duplicates("complex")["confidence"].value_counts()
    best = rows[rows["confidence"] <= BEST_CLASSES]
    return [
        ("complexes", 6_965, rows["complex"].nunique(), ""),
        *((f"complexes of class {number}", known, int(by_class[number]), "") for number, known in enumerate((242, 1_317, 745, 2_265, 2_396), 1)),
        ("proteins", 10_058, rows["identifier"].nunique(), ""),
        ("complexes of one protein", 8, int((rows.groupby("complex").size() == 1).sum()), ""),
        ("pairs", 57_891, num_pairs(rows.groupby("complex")["identifier"].agg(list)), ""),
        ("pairs of classes 1 to 3", 14_132, num_pairs(best.groupby("complex")["identifier"].agg(list)), ""),
    ]


def count_humap3(path: Path) -> list[Count]:
    rows = resources.parse_humap(path, "humap3")
    return [("complexes", 15_326, rows["complex"].nunique(), ""), ("worst class", 6, int(rows["confidence"].max()), "")]


def count_reactome(path: Path) -> list[Count]:
    rows = resources.parse_reactome(path)
    sizes = rows.drop_duplicates().groupby("pathway").size()
    return [
        ("pathways", 2_751, len(sizes), ""),
        ("symbols", 11_727, rows["identifier"].nunique(), ""),
        ("symbols of the largest", 2_615, int(sizes.max()), ""),
        ("pathways of at most 100", 2_468, int((sizes <= SIZE_LIMIT).sum()), ""),
    ]


def count_relations(num_all: int, num_human: int) -> Callable[[Path], list[Count]]:
    def count(path: Path) -> list[Count]:
        rows = resources.parse_reactome_relations(path)
        return [("rows", num_all, len(rows), ""), ("human rows", num_human, int(rows["parent"].str.startswith("R-HSA-").sum()), "")]

    return count


def count_hgnc(path: Path) -> list[Count]:
    rows = resources.read_hgnc(path)
    by_kind = dict(list(rows.groupby("namespace")))
    several = by_kind["uniprot"].groupby("gene").size() > 1
    shared = by_kind["ensembl"].groupby("identifier").size() > 1
    return [
        ("approved genes", 43_882, by_kind["approved"]["gene"].nunique(), ""),
        ("genes with an Ensembl id", 41_244, by_kind["ensembl"]["gene"].nunique(), ""),
        ("genes with a UniProt accession", 20_299, by_kind["uniprot"]["gene"].nunique(), ""),
        ("genes with several accessions", 53, int(several.sum()), ""),
        ("Ensembl ids of two genes", 1, int(shared.sum()), ""),
    ]


def count_drugs(path: Path) -> list[Count]:
    rows = resources.parse_drug_targets(path)
    per_drug = rows[rows["identifier"] != ""].groupby("perturbation").size()
    return [
        ("drugs", 379, rows["perturbation"].nunique(), ""),
        ("drugs without target", 115, int((rows["identifier"] == "").sum()), ""),
        ("drugs with several targets", 123, int((per_drug > 1).sum()), ""),
        ("targets", 280, rows.loc[rows["identifier"] != "", "identifier"].nunique(), ""),
    ]


def count_rows(known: int, parse: Callable[[Path], pd.DataFrame], what: str = "rows") -> Callable[[Path], list[Count]]:
    return lambda path: [(what, known, len(parse(path)), "")]


def count_hallmarks(path: Path) -> list[Count]:
    rows = resources.parse_gmt(path, "hallmarks")
    return [("sets", 50, rows["gene_set"].nunique(), ""), ("symbols", 4_384, rows["identifier"].nunique(), "")]


def count_functions(path: Path) -> list[Count]:
    sets = resources.parse_gmt(path, "rbps")
    return [("sets", 1_645, sets["gene_set"].nunique(), ""), ("symbols of GO_RNA_BINDING", 1_922, len(resources.parse_rbps(path)), "")]


PAN_CANCER = {"A": 5_283, "B": 1_096, "C": 5_210, "D": 25_656, "E": 175_985}
CONTEXTS = {"A": 5_434, "B": 974, "C": 6_815, "D": 15_863, "E": 425_418}
COUNTERS: dict[str, Callable[[Path], list[Count]]] = {
    FILES["collectri"]: count_collectri,
    FILES["dorothea"]: count_dorothea(CONTEXTS, 1_333),
    "grn_priors/dorothea_hs.tsv.gz": count_dorothea(CONTEXTS, 1_333),
    "grn_priors/dorothea_hs_pancancer.rda": count_dorothea(PAN_CANCER, None),
    "grn_priors/dorothea_hs_pancancer.tsv.gz": count_dorothea(PAN_CANCER, None),
    "grn_priors/dorothea_decoupler.csv": count_dorothea({"A": 6_080, "B": 9_033, "C": 17_162}, 429),
    FILES["trrust"]: count_trrust,
    FILES["string"]: count_string,
    FILES["string_info"]: count_rows(19_699, resources.parse_string_info, "proteins"),
    FILES["complexportal"]: count_complexportal,
    "complexes/complextab_sample/9606.tsv": count_complextab(8),
    "complexes/complextab_sample/9606_predicted.tsv": count_complextab(9),
    FILES["humap"]: count_humap,
    FILES["humap3"]: count_humap3,
    FILES["reactome"]: count_reactome,
    "reactome/ReactomePathwaysRelation.txt": count_relations(21_130, 2_497),
    FILES["reactome_relations"]: count_relations(22_168, 2_628),
    FILES["hgnc"]: count_hgnc,
    FILES["tfs"]: count_rows(1_639, lambda path: resources.parse_gene_list(path, "tfs"), "symbols"),
    FILES["rbps"]: count_functions,
    "gene_sets/rbp_GO_RNA_BINDING_c5mf_v7.0.derived.txt": count_rows(1_922, resources.parse_rbps, "symbols"),
    FILES["hallmarks"]: count_hallmarks,
    FILES["drug_targets"]: count_drugs,
}


def count_overlaps(folder: Path) -> list[Count]:
    """Count pairs that two prior databases share, as they are in the files."""
    files = {"CollecTRI": FILES["collectri"], "DoRothEA": "grn_priors/dorothea_decoupler.csv", "TRRUST": FILES["trrust"]}
    parsers = (resources.parse_collectri, resources.parse_dorothea, resources.parse_trrust)
    pairs = {
        name: set(parse(folder / file)[["regulator", "target"]].itertuples(index=False, name=None))
        for (name, file), parse in zip(files.items(), parsers, strict=True)
    }
    known = {("CollecTRI", "DoRothEA"): 5_828, ("CollecTRI", "TRRUST"): 7_871, ("DoRothEA", "TRRUST"): 3_482}
    counts: list[Count] = [(f"pairs in {a} and {b}", number, len(pairs[a] & pairs[b]), "") for (a, b), number in known.items()]
    return [*counts, ("pairs in any", 70_176, len(set().union(*pairs.values())), "")]


def count_accessions(folder: Path) -> list[Count]:
    """Count accessions that HGNC knows."""
    resolver = Resolver.from_hgnc(folder / FILES["hgnc"])
    portal, humap = resources.parse_complexportal(folder / FILES["complexportal"]), resources.parse_humap(folder / FILES["humap"])
    portal = portal.loc[portal["kind"] == "protein", "identifier"].str.replace(ISOFORM, "", regex=True)
    counts: list[Count] = []
    for what, known, accessions in (("Complex Portal", 2_388, portal), ("hu.MAP 2.0", 10_033, humap["identifier"])):
        statuses = resolver.resolve(accessions.unique().tolist())["status"]
        rule = AMBIGUOUS.format((statuses == "ambiguous").sum()) + ("; the 28 in molecule sets are known too" if what == "Complex Portal" else "")
        counts.append((f"accessions of {what} that HGNC knows", known, int((statuses != "unknown").sum()), rule))
    return counts


def all_counts(folder: Path) -> list[tuple[str, *Count]]:
    """File and count, for every file; the two of several files last."""
    rows = [(file, *count) for file, counter in COUNTERS.items() for count in counter(folder / file)]
    rows += [("the three prior databases", *count) for count in count_overlaps(folder)]
    return rows + [(FILES["hgnc"], *count) for count in count_accessions(folder)]


def account_of(folder: Path, settings: ResourcesConfig) -> dict[str, dict[str, Any]]:
    """Manifest of all resources, and what came of each."""
    tables = build_resources({name: ResourceFile(path=folder / file) for name, file in FILES.items()}, settings)
    edges, pairs, universe = tables.prior_edges, tables.reference_pairs, tables.reference_universe
    gave: dict[str, str] = {}
    for name in ("collectri", "dorothea", "trrust"):
        gave[name] = f"{edges['sources'].str.split(';').map(lambda names, name=name: name in names).sum():,} edges"
    for name in pairs["reference"].unique():
        gave[name] = f"{(pairs['reference'] == name).sum():,} pairs among {(universe['reference'] == name).sum():,} genes"
    for name, rows in tables.gene_sets.groupby("collection"):
        gave[name] = gave.get(name, f"{rows['gene_set'].nunique():,} sets, {rows['gene'].nunique():,} genes")
    gave["drug_targets"] = f"{tables.drug_targets['perturbation'].nunique():,} drugs, {tables.drug_targets['target'].nunique():,} genes"
    accounts = {name: entry | {"gave": gave.get(name, "")} for name, entry in tables.manifest.items() if "rows_read" in entry}
    disagreed = int(((edges["num_positive"] > 0) & (edges["num_negative"] > 0)).sum())
    accounts["all prior databases"] = {"gave": f"{len(edges):,} edges, of which {disagreed:,} have both signs stated"}
    return accounts


def counts_table(counts: list[tuple[str, *Count]]) -> str:
    """Markdown of :func:`all_counts`."""
    lines = ["| file | counted | known | found | why it differs, or what to know |", "| --- | --- | ---: | ---: | --- |"]
    return "\n".join([*lines, *(f"| {_short(file)} | {what} | {known:,} | {found:,} | {rule} |" for file, what, known, found, rule in counts)])


def _short(file: str) -> str:
    return f"`{Path(file).name}`" if "/" in file else file


def accounts_table(accounts: dict[str, dict[str, Any]]) -> str:
    """Markdown of :func:`account_of`."""
    lines = ["| resource | rows | kept | lost, and why | identifiers by how they were resolved | gives |", "| --- | ---: | ---: | --- | --- | --- |"]
    for name, entry in accounts.items():
        if "rows_read" not in entry:
            lines.append(f"| {name} | | | | | {entry['gave']} |")
            continue
        lost = ", ".join(f"{reason} {number:,}" for reason, number in entry["lost"].items()) or "none"
        by = ", ".join(f"{status} {number:,}" for status, number in entry.get("identifiers_by", {}).items())
        lines.append(f"| `{name}` | {entry['rows_read']:,} {entry['unit']} | {entry['rows_kept']:,} | {lost} | {by} | {entry['gave']} |")
    return "\n".join(lines)


def fill_in(page: str, tables: dict[str, str]) -> str:
    """Page with each table between the marks of its name."""
    for name, table in tables.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not mark.search(page):
            raise ValueError(f"expected the mark <!-- {name} --> in the page, found none; add it")
        page = mark.sub(lambda match, table=table: match[1] + table + "\n" + match[2], page)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/resources.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/resources.md"))
    arguments = parser.parse_args()
    counts, accounts = all_counts(arguments.folder), account_of(arguments.folder, ResourcesConfig())
    kept = {name: {key: value for key, value in entry.items() if key not in {"path", "url"}} for name, entry in accounts.items()}
    write_json(
        arguments.output, {"counts": [dict(zip(("file", "what", "known", "found", "rule"), row, strict=True)) for row in counts], "accounts": kept}
    )
    tables = {"counts": counts_table(counts), "accounts": accounts_table(accounts)}
    write_text(arguments.page, fill_in(arguments.page.read_text(encoding="utf-8"), tables))


if __name__ == "__main__":
    main()
