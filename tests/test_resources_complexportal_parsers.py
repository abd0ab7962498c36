"""Parser of Complex Portal: each oddity of its three forms in a file of a few lines, and the counts of the real files."""

import json

import pandas as pd
import pytest

from causcade.errors import ResourceError
from causcade.resources import parse_complexportal

TITLES = [
    "#Complex ac", "Recommended name", "Aliases for complex", "Taxonomy identifier", "Identifiers (and stoichiometry) of molecules in complex",
    "Evidence Code", "Experimental evidence", "Go Annotations", "Cross references", "Description", "Complex properties", "Complex assembly", "Ligand",
    "Disease", "Agonist", "Antagonist", "Comment", "Source", "Expanded participant list",
]  # fmt: skip


def complextab(path, rows):
    """Write a ComplexTAB of (id, column 5, column 19) and, in some rows, column 9."""
    lines = ["\t".join(TITLES)]
    for name, participants, expanded, *references in rows:
        cited = references[0] if references else "-"
        lines.append("\t".join([name, f'the "{name}" complex', "-", "9606", participants, *["-"] * 3, cited, *["-"] * 9, expanded]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_complextab_tokens(tmp_path):
    path = complextab(
        tmp_path / "c.tsv",
        [
            ("CPX-1", "P84022(1)|URS00004A7003_9606(2)", "P84022(1)|Q13485(0)"),
            ("CPX-2", "P10827-2(1)|P49768-PRO_0000025591(2)|CHEBI:29035(1)|URS00004A7003_9606(2)|EBI-123(1)", "-"),
            ("CPX-3", "[O15342,Q8NHE4](1)|[P21281,P15313]|O75787(1-2)", "-"),
        ],
    )
    rows = parse_complexportal(path)
    assert list(rows.columns) == ["complex", "identifier", "kind", "choice", "literature"]
    assert (rows["literature"] == "").all()
    assert rows.drop(columns="literature").to_numpy().tolist() == [
        ["CPX-1", "P84022", "protein", 0],
        ["CPX-1", "Q13485", "protein", 0],
        ["CPX-2", "P10827-2", "protein", 0],
        ["CPX-2", "P49768-PRO_0000025591", "protein", 0],
        ["CPX-2", "CHEBI:29035", "small_molecule", 0],
        ["CPX-2", "URS00004A7003_9606", "rna", 0],
        ["CPX-2", "EBI-123", "other", 0],
        ["CPX-3", "O15342", "protein", 1],
        ["CPX-3", "Q8NHE4", "protein", 1],
        ["CPX-3", "P21281", "protein", 2],
        ["CPX-3", "P15313", "protein", 2],
        ["CPX-3", "O75787", "protein", 0],
    ]


def test_nested_complexes_are_put_in_their_place(tmp_path):
    path = complextab(
        tmp_path / "c.tsv",
        [
            ("CPX-1", "CPX-2(1)|P00001(1)|[P00004,P00005](1)", "-"),
            ("CPX-2", "P00002(1)|CPX-3(2)", "-"),
            ("CPX-3", "[P00006,P00007](1)|P00003(1)", "-"),
            ("CPX-4", "CPX-4(1)|CPX-999(1)|P00001(1)", "-"),
        ],
    )
    rows = parse_complexportal(path)
    members = {name: [tuple(row) for row in group[["identifier", "choice"]].to_numpy()] for name, group in rows.groupby("complex")}
    assert [name for name, _ in members["CPX-1"]] == ["P00002", "P00006", "P00007", "P00003", "P00001", "P00004", "P00005"]
    choices = dict(members["CPX-1"])
    assert choices["P00006"] == choices["P00007"] > 0
    assert choices["P00004"] == choices["P00005"] > 0
    assert choices["P00004"] != choices["P00006"], "two sets of the flattened complex must not become one"
    assert rows[rows["complex"] == "CPX-4"]["kind"].tolist() == ["complex", "complex", "protein"]


def test_table_of_participants_is_read_too(tmp_path):
    (tmp_path / "p.tsv").write_text("complex_ac\trecommended_name\tparticipants\nCPX-1\tname\tP84022|[O15342,Q8NHE4]\n")
    assert parse_complexportal(tmp_path / "p.tsv")["identifier"].tolist() == ["P84022", "O15342", "Q8NHE4"]


def test_other_tables_of_complexes_are_refused(tmp_path):
    (tmp_path / "p.tsv").write_text("id\tname\tdefinition\nCPX-1\ta\tb\n")
    with pytest.raises(ResourceError, match=r"expected the columns #Complex ac, .* found id, name, definition .*ComplexTAB"):
        parse_complexportal(tmp_path / "p.tsv")


OBO = "http://purl.obolibrary.org/obo/"


def graph_of(path, complexes, edges):
    """Write an OBO graph of complexes (name to references of the definition) and edges (complex, kind of edge, name)."""
    nodes = [{"id": f"{OBO}complexportal_{name}", "meta": {"definition": {"val": "text", "xrefs": cited}}} for name, cited in complexes.items()]
    nodes.append({"id": f"{OBO}BFO_0000051", "type": "PROPERTY"})
    listed = [{"sub": f"{OBO}complexportal_{name}", "pred": OBO + kind, "obj": OBO + other} for name, kind, other in edges]
    path.write_text(json.dumps({"graphs": [{"nodes": nodes, "edges": listed}]}))
    return path


def literature_of(rows):
    return dict(rows[["complex", "literature"]].itertuples(index=False, name=None))


def test_publications_are_the_pubmed_items_of_the_cross_references(tmp_path):
    references = (
        "reactome:R-HSA-1(identity)|pubmed:300(see-also)|pubmed:20(see-also)|wwpdb:1U7V(subset)|pubmed:300(see-also)|pubmed:PPR59167(see-also)"
    )
    rows = [("CPX-1", "P00001(1)", "P00001(1)|P00002(1)", references), ("CPX-2", "P00003(1)|CPX-1(1)", "-"), ("CPX-3", "P00003(1)", "-", "pubmed:7")]
    found = parse_complexportal(complextab(tmp_path / "c.tsv", rows))
    assert literature_of(found) == {"CPX-1": "20;300", "CPX-2": "", "CPX-3": "7"}, "different, sorted as text; preprints and structures are no papers"
    assert len(found) == 6


def test_a_table_of_participants_may_name_publications(tmp_path):
    (tmp_path / "p.tsv").write_text("complex_ac\tparticipants\tliterature\nCPX-1\tP84022\t9;PMID:8;no\nCPX-2\tP84022\t\n")
    assert literature_of(parse_complexportal(tmp_path / "p.tsv")) == {"CPX-1": "8;9", "CPX-2": ""}


def test_graph_names_members_and_publications_of_human_complexes(tmp_path):
    human, mouse, part, taxon = "NCBITaxon_9606", "NCBITaxon_10090", "BFO_0000051", "RO_0002162"
    edges = [
        ("CPX-1", taxon, human), ("CPX-1", part, "uniprot_%5BO15342%2CQ8NHE4%5D"), ("CPX-1", part, "uniprot#_P49768-PRO_0000025591"),
        ("CPX-1", part, "CHEBI_29035"), ("CPX-1", part, "uniprot_URS00004A7003_9606"), ("CPX-2", taxon, mouse), ("CPX-2", part, "uniprot_P00001"),
        ("CPX-3", part, "uniprot_CPX-1"), ("CPX-3", part, "uniprot_P10827-2"), ("CPX-3", taxon, human), ("CPX-4", taxon, human),
    ]  # fmt: skip
    path = graph_of(tmp_path / "g.json", {"CPX-1": ["pubmed:2", "pubmed:10", "pubmed:PPR5"], "CPX-2": ["pubmed:3"], "CPX-3": [], "CPX-4": []}, edges)
    rows = parse_complexportal(path)
    of_first = [("O15342", "protein", 1), ("Q8NHE4", "protein", 1), ("P49768-PRO_0000025591", "protein", 0), ("CHEBI:29035", "small_molecule", 0),
                ("URS00004A7003_9606", "rna", 0)]  # fmt: skip
    assert [(one.complex, one.identifier, one.kind, one.choice) for one in rows.itertuples()] == [
        *(("CPX-1", *member) for member in of_first), *(("CPX-3", *member) for member in of_first), ("CPX-3", "P10827-2", "protein", 0),
    ]  # fmt: skip
    assert literature_of(rows) == {"CPX-1": "10;2", "CPX-3": ""}


def test_other_graphs_are_refused(tmp_path):
    for text, message in (
        ("{", "expected an OBO graph, found JSON of another form .* Fetch it again"),
        ("{}", "expected an OBO graph"),
        (json.dumps({"graphs": [{"nodes": [{"id": "a"}], "edges": []}]}), r"expected human complexes \(NCBITaxon_9606\) in the graph, found none"),
    ):
        (tmp_path / "g.json").write_text(text)
        with pytest.raises(ResourceError, match=message):
            parse_complexportal(tmp_path / "g.json")


@pytest.mark.shared_data
def test_real_files_have_their_known_counts(shared_data):
    folder = shared_data / "references" / "complexes"
    portal = parse_complexportal(folder / "complexportal_9606_participants_2022-07-11.derived.tsv.gz")
    assert portal["complex"].nunique() == 1_429
    sample = parse_complexportal(folder / "complextab_sample" / "9606.tsv")
    assert sample["complex"].nunique() == 8
    assert (sample["kind"] == "protein").all(), "column 19 holds proteins only"
    assert literature_of(sample)["CPX-1"] == "16322555;35359452"
    assert (sample["literature"] != "").all()
    predicted = parse_complexportal(folder / "complextab_sample" / "9606_predicted.tsv")
    assert predicted["complex"].nunique() == 9
    assert (predicted["literature"] == "").all()


@pytest.mark.shared_data
def test_real_graph_has_the_members_of_the_table_made_from_it(shared_data):
    folder = shared_data / "references" / "complexes"
    table = parse_complexportal(folder / "complexportal_9606_participants_2022-07-11.derived.tsv.gz")
    graph = parse_complexportal(folder / "complexportal_obograph_2022-07-11.json.gz")
    members = [set(rows[["complex", "identifier", "kind"]].itertuples(index=False, name=None)) for rows in (table, graph)]
    assert members[0] == members[1]
    cited = pd.Series(literature_of(graph))
    assert (len(cited), (cited != "").sum()) == (1_429, 1_331)
    assert len(set(cited.str.split(";").explode()) - {""}) == 1_534, "of 1,535 references one is a preprint without a PubMed id"
