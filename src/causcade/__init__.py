"""causcade: from the raw counts of a perturbation atlas to a directed gene regulatory network.

The library behind the Snakemake workflow of the same name. Each stage is one module (or package) with the
stage's name; nothing here imports snakemake, and heavy packages are imported by the modules that need them.
"""

__version__ = "0.1.0"
