"""10x h5 files."""

import h5py
import numpy as np
import pytest
from count_files import NUM_CELLS, NUM_GENES, cell_names, dense, draw_counts, gene_ids, message, read, symbols, write_tenx_v2, write_tenx_v3

from causcade.config import InputConfig
from causcade.readers import CountsFile
from causcade.readers.tenx import open_tenx

GENE = "Gene Expression"


def test_a_genome_of_several_has_to_be_named(tmp_path):
    """In Cell Ranger 2 each genome has its own group."""
    path = write_tenx_v2(tmp_path / "x.h5", {"hg19": draw_counts(), "mm10": draw_counts(1, 5, 4)})
    assert message(path) == f"{path}: expected one genome, found hg19, mm10. Set `input: {{genome: NAME}}` to one of them."
    assert message(path, genome="no") == f"{path}: expected genome 'no' (input.genome), found hg19, mm10. Name one that is there."
    np.testing.assert_array_equal(dense(read(path, genome="hg19")), draw_counts())
    np.testing.assert_array_equal(dense(read(path, genome="mm10")), draw_counts(1, 5, 4))


def test_a_genome_of_several_in_one_group(tmp_path):
    """In Cell Ranger 3 the features name their genome, and their own names begin with it."""
    genomes = ["GRCh38", "mm10"] * 5 + ["GRCh38"]
    prefixed = [f"{genome}{'_' if genome == 'GRCh38' else '___'}{name}" for genome, name in zip(genomes, symbols(), strict=True)]
    ids = [f"{genome}_{name}" for genome, name in zip(genomes, gene_ids(), strict=True)]
    path = write_tenx_v3(tmp_path / "x.h5", draw_counts(), genome=genomes, name=prefixed, id=ids)
    assert message(path) == f"{path}: expected one genome, found GRCh38, mm10. Set `input: {{genome: NAME}}` to one of them."
    np.testing.assert_array_equal(dense(read(path, genome="mm10")), draw_counts()[:, 1::2])
    with CountsFile(path, InputConfig(genome="mm10")) as file:
        assert file.genes["symbol"].tolist() == symbols()[1::2]
        assert file.genes["gene_id"].tolist() == [name.split(".")[0] for name in gene_ids()[1::2]]


def test_other_features_are_left_out_and_told(tmp_path, caplog):
    caplog.set_level("INFO", logger="causcade")
    types = [GENE] * 8 + ["Antibody Capture"] * 2 + [GENE]
    path = write_tenx_v3(tmp_path / "x.h5", draw_counts(), feature_type=types, genome=["GRCh38"] * 8 + [""] * 2 + ["GRCh38"])
    np.testing.assert_array_equal(dense(read(path)), draw_counts()[:, [*range(8), 10]])
    assert f"{path}: 9 features are Gene Expression; left out: 2 of Antibody Capture" in caplog.text


def test_a_negative_value_of_another_feature_is_no_mistake(tmp_path):
    counts = draw_counts()
    counts[3, 9] = -1
    path = write_tenx_v3(tmp_path / "x.h5", counts, feature_type=[GENE] * 9 + ["Custom"] * 2)
    np.testing.assert_array_equal(dense(read(path)), counts[:, :9])


def test_probes_have_the_ids_of_their_genes(tmp_path, caplog):
    """Those outside the filtered set are left out; the others of one gene are summed by the plate."""
    caplog.set_level("INFO", logger="causcade")
    genes = ["ENSG1", "ENSG1", *[f"ENSG{i}" for i in range(2, NUM_GENES)]]
    filtered = [True] * 9 + [False, True]
    path = write_tenx_v3(
        tmp_path / "x.h5", draw_counts(), id=[f"{gene}|x|{i}" for i, gene in enumerate(genes)], gene_id=genes, gene_name=symbols(),
        filtered_probes=filtered, probe_region=["spliced"] * NUM_GENES,
    )  # fmt: skip
    with h5py.File(path, "r+") as file:
        file["matrix/filtered_barcodes"] = np.arange(NUM_CELLS) % 2 == 0
    np.testing.assert_array_equal(dense(read(path)), draw_counts()[:, filtered])
    with CountsFile(path, InputConfig()) as file:
        assert file.genes["gene_id"].tolist() == [gene for gene, keep in zip(genes, filtered, strict=True) if keep]
        assert file.obs["filtered_barcodes"].tolist() == (np.arange(NUM_CELLS) % 2 == 0).tolist()
    assert f"{path}: 1 probes are not in the filtered set and are left out" in caplog.text


def test_columns_of_the_features_may_be_named(tmp_path):
    path = write_tenx_v3(tmp_path / "x.h5", draw_counts())
    with CountsFile(path, InputConfig(gene_id="gene_symbols", gene_symbol="gene_ids")) as file:
        assert file.genes["gene_id"].tolist() == symbols()
        assert file.genes["symbol"].tolist() == gene_ids()
    expected = (
        f"{path}: expected var column 'no' (input.gene_id), found gene_ids, gene_symbols, feature_types, genome. Name one that is there, or null"
    )
    assert message(path, gene_id="no").startswith(expected)


def test_texts_of_variable_length(tmp_path):
    path = write_tenx_v3(tmp_path / "x.h5", draw_counts())
    with h5py.File(path, "r+") as file:
        del file["matrix/barcodes"]
        file["matrix/barcodes"] = [f"{name}ä" for name in cell_names()]
    with CountsFile(path, InputConfig()) as file:
        assert file.obs.index.tolist() == [f"{name}ä" for name in cell_names()]


@pytest.mark.parametrize("damage", ["barcodes", "shape", "data", "indptr"])
def test_damaged_files(tmp_path, damage):
    path = write_tenx_v3(tmp_path / "x.h5", draw_counts())
    with h5py.File(path, "r+") as file:
        values = file[f"matrix/{damage}"][:]
        del file[f"matrix/{damage}"]
        if damage != "data":
            file[f"matrix/{damage}"] = values[:-1] if damage != "shape" else values + 1
    assert message(path).startswith(f"{path}: expected 10x h5, found a file that is damaged, truncated or of another kind (")


def test_files_of_another_kind(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["counts"] = [1]
    assert message(path, format="tenx_h5") == f"{path}: expected 10x h5 (matrix with barcodes), found counts. Correct column counts."
    path.write_bytes(b"no")
    assert message(path, format="tenx_h5").startswith(f"{path}: expected 10x h5, found a file that is damaged, truncated or of another kind (")


def test_what_is_handed_over(tmp_path):
    found = open_tenx(write_tenx_v3(tmp_path / "x.h5", draw_counts()), InputConfig())
    assert found.matrix.shape == (NUM_CELLS, NUM_GENES)
    assert found.var.columns.tolist() == ["gene_ids", "gene_symbols", "feature_types", "genome"]
    assert found.kept is None
    found.close()
