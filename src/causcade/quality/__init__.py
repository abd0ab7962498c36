"""Quality control of one plate: metrics per cell, filters with reasons, doublets on request; all genes are kept.

Metrics equal `scanpy.pp.calculate_qc_metrics` (doi:10.1186/s13059-017-1382-0): total counts, detected genes, share of mitochondrial counts. Outliers
are told by the median absolute deviation of log counts and log genes (doi:10.15252/msb.20188746). Doublets are called by Scrublet
(doi:10.1016/j.cels.2018.11.005).

Axes: N cells of the plate, B cells of a block, F features of the file, G genes.
"""

from causcade.quality.doublets import DoubletCalls, find_doublets
from causcade.quality.judging import REASONS, judge_cells, mad_outliers
from causcade.quality.metrics import measure_cells, measure_cells_by_dask, mitochondrial
from causcade.quality.plate_counts import PlateCounts, input_columns, open_plate
from causcade.quality.stage import store_plate, summarise_plate

__all__ = [
    "REASONS",
    "DoubletCalls",
    "PlateCounts",
    "find_doublets",
    "input_columns",
    "judge_cells",
    "mad_outliers",
    "measure_cells",
    "measure_cells_by_dask",
    "mitochondrial",
    "open_plate",
    "store_plate",
    "summarise_plate",
]
