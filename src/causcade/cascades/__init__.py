"""Every perturbation explained: its direct part, each hop of the cascade, paths, related perturbations, gene sets and novel edges."""

from causcade.cascades.explain import CascadeTables, build_cascades, write_cascades
from causcade.cascades.gene_sets import enriched_sets
from causcade.cascades.paths import best_paths

__all__ = ["CascadeTables", "best_paths", "build_cascades", "enriched_sets", "write_cascades"]
