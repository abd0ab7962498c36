"""Gene lists of the papers that are named."""

import pytest

from causcade.gene_lists import G2M_GENES, MITO_GENE_IDS, MITO_GENES, MITO_PREFIX, S_GENES


@pytest.mark.parametrize(("genes", "number"), [(S_GENES, 43), (G2M_GENES, 54), (MITO_GENES, 13)])
def test_sizes(genes, number):
    assert len(genes) == len(set(genes)) == number
    assert all(gene == gene.strip().upper() for gene in genes)


def test_phases_share_no_gene_and_hold_the_ones_that_everyone_knows():
    assert not set(S_GENES) & set(G2M_GENES)
    assert {"PCNA", "MCM5"} <= set(S_GENES)
    assert {"MKI67", "TOP2A", "CDK1"} <= set(G2M_GENES)


def test_mitochondrial_genes_have_the_prefix():
    assert all(gene.startswith(MITO_PREFIX) for gene in MITO_GENES)


def test_mitochondrial_ids():
    assert len(MITO_GENE_IDS) == 37
    assert all(len(gene_id) == 15 and gene_id.startswith("ENSG00000") for gene_id in MITO_GENE_IDS)


@pytest.mark.shared_data
def test_mitochondrial_ids_are_those_of_hgnc(shared_data):
    from causcade.resources.identifiers import read_hgnc

    table = read_hgnc(shared_data / "references" / "idmap" / "hgnc_complete_set.txt.gz")
    known = table[(table["namespace"] == "ensembl") & table["gene"].str.startswith(MITO_PREFIX)]
    assert set(known["identifier"]) == MITO_GENE_IDS
    assert set(MITO_GENES) <= set(known["gene"])


@pytest.mark.shared_data
def test_genes_are_known_to_hgnc(shared_data):
    from causcade.resources.identifiers import Resolver

    resolver = Resolver.from_hgnc(shared_data / "references" / "idmap" / "hgnc_complete_set.txt.gz")
    for genes in (S_GENES, G2M_GENES, MITO_GENES):
        assert resolver.resolve(genes)["gene"].notna().all()
