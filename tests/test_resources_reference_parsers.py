"""Parsers of references: each oddity in a file of a few lines, and the counts of the real files."""

import pytest

from causcade.errors import ResourceError
from causcade.resources import parse_reactome, parse_reactome_relations, parse_string, parse_string_info


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
    links = parse_string(folder / "ppi" / "9606.protein.physical.links.v12.0.min700.partial.txt.gz")
    assert len(links) == 116_942
    assert len({tuple(sorted(pair)) for pair in zip(links["protein1"], links["protein2"], strict=True)}) == 58_471
    assert len(parse_string_info(folder / "ppi" / "9606.protein.info.v12.0.txt.gz")) == 19_699

    pathways = parse_reactome(folder / "reactome" / "ReactomePathways.gmt")
    sizes = pathways.drop_duplicates().groupby("gene_set").size()
    assert (len(sizes), sizes.max(), (sizes <= 100).sum()) == (2_751, 2_615, 2_468)
    relations = parse_reactome_relations(folder / "reactome" / "ReactomePathwaysRelation.txt")
    assert (len(relations), relations["parent"].str.startswith("R-HSA-").sum()) == (21_130, 2_497)
