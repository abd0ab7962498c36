"""Parsers of references: each oddity in a file of a few lines, and the counts of the real files."""

import pytest

from causcade.errors import ResourceError
from causcade.resources import parse_complexportal, parse_reactome, parse_reactome_relations, parse_string, parse_string_info

TITLES = [
    "#Complex ac", "Recommended name", "Aliases for complex", "Taxonomy identifier", "Identifiers (and stoichiometry) of molecules in complex",
    "Evidence Code", "Experimental evidence", "Go Annotations", "Cross references", "Description", "Complex properties", "Complex assembly", "Ligand",
    "Disease", "Agonist", "Antagonist", "Comment", "Source", "Expanded participant list",
]  # fmt: skip


def complextab(path, rows):
    """Write a ComplexTAB of (id, column 5, column 19)."""
    lines = ["\t".join(TITLES)]
    for name, participants, expanded in rows:
        lines.append("\t".join([name, f'the "{name}" complex', "-", "9606", participants, *["-"] * 13, expanded]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_string_and_its_names(tmp_path):
    (tmp_path / "l").write_text("protein1 protein2 combined_score\n9606.P1 9606.P2 716\n9606.P2 9606.P1 716\n")
    assert parse_string(tmp_path / "l").to_numpy().tolist() == [["9606.P1", "9606.P2", 716], ["9606.P2", "9606.P1", 716]]
    (tmp_path / "i").write_text("#string_protein_id\tpreferred_name\tprotein_size\tannotation\n9606.P1\tARF5\t180\ta \"5' end\n9606.P2\tM6PR\t2\tb\n")
    assert parse_string_info(tmp_path / "i").to_numpy().tolist() == [["9606.P1", "ARF5"], ["9606.P2", "M6PR"]]


def test_detailed_string_links_are_fine_and_swapped_files_are_told(tmp_path):
    (tmp_path / "l").write_text("protein1 protein2 experimental database textmining combined_score\na b 1 2 3 700\n")
    assert parse_string(tmp_path / "l").to_numpy().tolist() == [["a", "b", 700]]
    (tmp_path / "l").write_text("#string_protein_id\tpreferred_name\na\tb\n")
    with pytest.raises(ResourceError, match=r"expected the columns protein1, protein2, combined_score, found .*physical.links"):
        parse_string(tmp_path / "l")
    (tmp_path / "l").write_text("protein1 protein2 combined_score\na b high\n")
    with pytest.raises(ResourceError, match="expected an integer combined_score, found 'high'"):
        parse_string(tmp_path / "l")


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
    assert list(rows.columns) == ["complex", "identifier", "kind", "choice"]
    assert rows.to_numpy().tolist() == [
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


def test_reactome_keeps_every_token_and_tells_namesakes_apart(tmp_path):
    (tmp_path / "r").write_text("2-LTR circle formation\tR-HSA-1\tBANF1\tgag\t5S rRNA\nSame\tR-HSA-2\tA\nSame\tR-HSA-3\tA\tB\n")
    assert parse_reactome(tmp_path / "r").to_numpy().tolist() == [
        ["2-LTR circle formation", "R-HSA-1", "BANF1"],
        ["2-LTR circle formation", "R-HSA-1", "gag"],
        ["2-LTR circle formation", "R-HSA-1", "5S rRNA"],
        ["Same (R-HSA-2)", "R-HSA-2", "A"],
        ["Same (R-HSA-3)", "R-HSA-3", "A"],
        ["Same (R-HSA-3)", "R-HSA-3", "B"],
    ]


def test_another_gmt_is_not_reactome(tmp_path):
    (tmp_path / "r").write_text("HALLMARK_X\thttp://x\tA\tB\n")
    with pytest.raises(ResourceError, match=r"found name, 'http://x', symbols .*ReactomePathways.gmt.zip"):
        parse_reactome(tmp_path / "r")


def test_the_hierarchy_of_reactome(tmp_path):
    (tmp_path / "r").write_bytes(b"R-HSA-1\tR-HSA-2\r\nR-BTA-1\tR-BTA-2\r\n")
    assert parse_reactome_relations(tmp_path / "r").to_numpy().tolist() == [["R-HSA-1", "R-HSA-2"], ["R-BTA-1", "R-BTA-2"]]
    (tmp_path / "r").write_text("parent\tchild\nR-HSA-1\tR-HSA-2\n")
    with pytest.raises(ResourceError, match=r"expected Reactome ids \(R-HSA-...\), found 'parent', 'child'.*ReactomePathwaysRelation.txt"):
        parse_reactome_relations(tmp_path / "r")
    (tmp_path / "r").write_text("R-HSA-1\tApoptosis\tHomo sapiens\n")
    with pytest.raises(ResourceError, match=r"found 3 field\(s\) in the first line"):
        parse_reactome_relations(tmp_path / "r")


@pytest.mark.shared_data
def test_real_references_have_their_known_counts(shared_data):
    folder = shared_data / "references"
    portal = parse_complexportal(folder / "complexes" / "complexportal_9606_participants_2022-07-11.derived.tsv.gz")
    assert portal["complex"].nunique() == 1_429
    sample = parse_complexportal(folder / "complexes" / "complextab_sample" / "9606.tsv")
    assert sample["complex"].nunique() == 8
    assert (sample["kind"] == "protein").all(), "column 19 holds proteins only"
    assert parse_complexportal(folder / "complexes" / "complextab_sample" / "9606_predicted.tsv")["complex"].nunique() == 9

    links = parse_string(folder / "ppi" / "9606.protein.physical.links.v12.0.min700.partial.txt.gz")
    assert len(links) == 116_942
    assert len({tuple(sorted(pair)) for pair in zip(links["protein1"], links["protein2"], strict=True)}) == 58_471
    assert len(parse_string_info(folder / "ppi" / "9606.protein.info.v12.0.txt.gz")) == 19_699

    pathways = parse_reactome(folder / "reactome" / "ReactomePathways.gmt")
    sizes = pathways.drop_duplicates().groupby("gene_set").size()
    assert (len(sizes), sizes.max(), (sizes <= 100).sum()) == (2_751, 2_615, 2_468)
    relations = parse_reactome_relations(folder / "reactome" / "ReactomePathwaysRelation.txt")
    assert (len(relations), relations["parent"].str.startswith("R-HSA-").sum()) == (21_130, 2_497)
