"""Readers of raw counts of every format behind one interface, :class:`CountsFile`."""

from causcade.readers.counts_file import CountsFile, check_counts
from causcade.readers.genes import merge_genes, strip_version
from causcade.readers.tables import join_table, read_table

__all__ = ["CountsFile", "check_counts", "join_table", "merge_genes", "read_table", "strip_version"]
