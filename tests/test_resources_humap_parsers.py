"""Parsers of hu.MAP: both versions, complexes and pairs, and the counts of the real files."""

import gzip
import itertools

import numpy as np
import pytest

from causcade.errors import ResourceError
from causcade.resources import humap_parsers, parse_humap, parse_humap_pairs
from causcade.resources.humap_parsers import is_humap_pairs


def num_pairs(sets):
    """Different pairs of different members, slowly."""
    return len({pair for members in sets for pair in itertools.combinations(sorted(set(members)), 2)})


def test_humap_reads_accessions_and_never_pairs_them_with_symbols(tmp_path):
    (tmp_path / "h").write_text(
        "HuMAP2_ID,Confidence,Uniprot_ACCs,genenames\nHuMAP2_00000,3,Q9BQS8 O95900,FYCO1 TRUB2\nHuMAP2_00001,4,P08133,H4C1;H4C2\n"
    )
    rows = parse_humap(tmp_path / "h")
    assert rows.to_numpy().tolist() == [["HuMAP2_00000", "Q9BQS8", 3], ["HuMAP2_00000", "O95900", 3], ["HuMAP2_00001", "P08133", 4]]


def test_each_version_is_refused_where_the_other_is_meant(tmp_path):
    (tmp_path / "h").write_text("HuMAP3_ID,ComplexConfidence,Uniprot_ACCs,genenames\nhuMAP3_0.1,6,P1 P2,A B\n")
    assert parse_humap(tmp_path / "h", "humap3").to_numpy().tolist() == [["huMAP3_0.1", "P1", 6], ["huMAP3_0.1", "P2", 6]]
    with pytest.raises(ResourceError, match=r"expected the columns HuMAP2_ID, Confidence, Uniprot_ACCs, found HuMAP3_ID, .*hu.MAP 3.0 is `humap3`"):
        parse_humap(tmp_path / "h")
    (tmp_path / "h").write_text("HuMAP3_ID,ComplexConfidence,Uniprot_ACCs,genenames\nhuMAP3_0.1,7,P1 P2,A B\n")
    with pytest.raises(ResourceError, match="expected a ComplexConfidence of 1 to 6, found '7'"):
        parse_humap(tmp_path / "h", "humap3")
    (tmp_path / "h").write_text("HuMAP2_ID,Confidence,Uniprot_ACCs,genenames\nx,6,P1 P2,A B\n")
    with pytest.raises(ResourceError, match="expected a Confidence of 1 to 5, found '6'"):
        parse_humap(tmp_path / "h")


@pytest.mark.parametrize("rows_per_block", [1, 2, 100])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_pairs_in_blocks_of_any_size(tmp_path, monkeypatch, rows_per_block, pack):
    monkeypatch.setattr(humap_parsers, "ROWS_PER_BLOCK", rows_per_block)
    rows = [("P1", "P2", 0.9), ("P3", "P1", 1.0), ("P2", "P3", 0.0), ("P4", "P5", 2.5e-05), ("P1", "P2", 0.5)]
    (tmp_path / "p").write_bytes(pack("".join(f"{a}\t{b}\t{value}\n" for a, b, value in rows).encode()))
    found = parse_humap_pairs(tmp_path / "p")
    assert sorted(found.identifiers) == ["P1", "P2", "P3", "P4", "P5"]
    names = np.array(found.identifiers, dtype=object)
    assert list(zip(names[found.first], names[found.second], strict=True)) == [(a, b) for a, b, _ in rows]
    np.testing.assert_allclose(found.probability, [value for *_, value in rows], rtol=1e-6)
    assert found.first.dtype == found.second.dtype == np.int32


def test_pairs_are_told_from_complexes(tmp_path):
    (tmp_path / "p").write_text("P1\tP2\t0.9\n")
    (tmp_path / "h").write_text("HuMAP2_ID,Confidence,Uniprot_ACCs,genenames\n")
    assert is_humap_pairs(tmp_path / "p", "humap")
    assert not is_humap_pairs(tmp_path / "h", "humap")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"P1\tP2\thigh\n", "expected a probability from 0 to 1 in the third field, found 'high'"),
        (b"P1\tP2\t1.5\n", "found '1.5'"),
        (b"P1\tP2\t0.5\nP1\tP3", r"found ''\. Fetch it again"),
        (b"P1\tP2\t0.5\nP1\tP3\t0.5\tmore\n", r"expected 3 fields in every line \(protein_a, protein_b, probability\)"),
        (gzip.compress(b"P1\tP2\t0.5\n" * 50_000, mtime=0)[:-30], r"expected a whole compressed file, found one that is truncated or damaged"),
    ],
)
def test_damaged_pairs_are_told(tmp_path, content, message):
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(ResourceError, match=message):
        parse_humap_pairs(tmp_path / "p")


@pytest.mark.shared_data
def test_real_complexes_have_their_known_counts(shared_data):
    folder = shared_data / "references"
    humap = parse_humap(folder / "complexes" / "humap2_complexes_20200809InOrderMatched.csv")
    complexes = humap.drop_duplicates("complex")
    assert complexes["confidence"].value_counts().to_dict() == {1: 242, 2: 1_317, 3: 745, 4: 2_265, 5: 2_396}
    assert humap["identifier"].nunique() == 10_058
    assert num_pairs(humap.groupby("complex")["identifier"].agg(list)) == 57_891
    assert num_pairs(humap[humap["confidence"] <= 3].groupby("complex")["identifier"].agg(list)) == 14_132
    native = parse_humap(folder / "complexes" / "humap2_complexes_20200809.native_extract.txt")
    matched = humap[humap["complex"].isin(native["complex"])]
    assert set(map(tuple, native.to_numpy())) == set(map(tuple, matched.to_numpy())), "the order of the lists does not matter"


@pytest.mark.shared_data
def test_real_complexes_of_version_3_have_their_known_counts(shared_data):
    (path,) = (shared_data / "references" / "complexes").glob("hu.MAP3.0_complexes_*.csv")
    humap = parse_humap(path, "humap3")
    complexes = humap.drop_duplicates("complex")
    assert len(complexes) == 15_326
    assert complexes["confidence"].value_counts().sort_index().to_dict() == {1: 5_468, 2: 2_170, 3: 1_367, 4: 901, 5: 1_240, 6: 4_180}
    assert humap["identifier"].nunique() == 13_769
