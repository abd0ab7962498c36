"""Judging any network: a table of edges from whatever tool, with the references, controls and baselines of the stage `evaluation`.

* :mod:`~causcade.score.tables`: tables of edges, read and checked, in the gene names of the run.
* :mod:`~causcade.score.inputs`: which pairs of genes are judged, and by what.
* :mod:`~causcade.score.judging`: the verdict, as tables and as text.
"""

from causcade.score.inputs import ScoreInputs, gather
from causcade.score.judging import ScoreTables, format_score, judge, write_score
from causcade.score.tables import read_edges, translate, without_repeats

__all__ = ["ScoreInputs", "ScoreTables", "format_score", "gather", "judge", "read_edges", "translate", "without_repeats", "write_score"]
