"""What all rules share: the validated configuration, paths, plates, digests of code."""

import json
import os
import re
import sys

from causcade.code_digest import code_digest
from causcade.config_tx1 import path_of_plate
from causcade.errors import ConfigError
from causcade.fits import settings_of_fit
from causcade.input_files import folder_digest, input_files, table_paths
from causcade.pins import fingerprints, is_pinned, requested_rules
from causcade.plates import condition_stores, list_plates
from causcade.shards import expected_cells, num_shards
from causcade.validation import load_config, model_files, resource_files, training_files

try:
    CONFIG = load_config(config, check_files=workflow.is_main_process)
    PLATES = {plate.name: plate for plate in list_plates(CONFIG)}
except ConfigError as error:
    print(f"causcade: {error}", file=sys.stderr)
    sys.exit(2)

SETTINGS = CONFIG.model_dump(mode="json")
RUN = f"{CONFIG.results}/{CONFIG.run}"
LOGS = f"{RUN}/logs"
BENCHMARKS = f"{RUN}/benchmarks"
# With `--cache`, what is expensive is shared between runs.
CACHING = workflow.workflow_settings.cache is not None
PINS = f"{RUN}/pins"
HAS_CELLS = CONFIG.has_cells
# Made of the cells of the plates, or read off a table of conditions.
CHECK = f"{RUN}/check.json"
PANEL = f"{RUN}/panel.parquet"
COEXPRESSION = f"{RUN}/coexpression.zarr"
PARTNERS = f"{RUN}/partners.parquet"
CONDITIONS, BASELINES = condition_stores(CONFIG)
# Only cells have partial correlations: in controls, and within conditions.
PARTIAL = [f"{RUN}/evidence/partial_correlation.parquet"] if HAS_CELLS else []
PARTIAL_WITHIN = [f"{RUN}/latent/partial_correlation.parquet"] if HAS_CELLS else []
STAGES = [
    "resources",
    "checks",
    "condition_table",
    "condition_table_genes",
    "targets",
    "quality",
    "panel",
    "coexpression",
    "mask",
    "unmeasured",
    "pretraining",
    "model_judging",
    "embedding",
    "basal",
    "conditions",
    "causal",
    "latent",
    "evidence",
    "network",
    "evaluation",
    "cascades",
]
FINGERPRINTS = fingerprints(CONFIG)
# Priority of the longest chain that all fits wait for, from the cells over the model to the baselines: what takes a core beside it can wait.
BEFORE_FITS = 50
# The Python of a shell command: that of its environment, or the one that runs Snakemake.
PYTHON = (
    "python"
    if "conda" in map(str, workflow.deployment_settings.deployment_method)
    else sys.executable
)
NUM_CELLS = expected_cells(PLATES.values(), CONFIG)
NUM_SHARDS = {
    name: num_shards(cells, CONFIG.coexpression.shard_cells)
    for name, cells in NUM_CELLS.items()
}
# The cache tells plates apart by their bytes, which a folder has none of.
FOLDERS = [
    path
    for plate in PLATES.values()
    for path in input_files(plate.counts, CONFIG.input.format)
    if os.path.isdir(path)
]
CACHING_PLATES = CACHING and not FOLDERS
if CACHING and FOLDERS and workflow.is_main_process:
    print(
        f"causcade: --cache keeps the resources only: {FOLDERS[0]} is a folder, whose content the cache cannot tell. Plates that are files are cached.",
        file=sys.stderr,
    )


def one_of(names):
    """Pattern of a wildcard that has to be one of some names; without any, it matches nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    plate=one_of(PLATES),
    fit="main|noprior|edgenull[0-9]+|labelnull[0-9]+|boot[0-9]+|drugs[0-9]+|line_.+",


def settings_of(*sections):
    """Sections of the resolved configuration, by name, without keys for speed alone; keys of a section as `section.key`."""
    found = {}
    for name in sections:
        value = SETTINGS | CONFIG.deciding()
        for key in name.split("."):
            value = value[key]
        found[name] = value
    return found


def settings_of_this_fit(wildcards):
    """What decides one fit; how many nulls or bootstraps there are does not."""
    found = settings_of("causal", "seed", "backend")
    return {**found, "causal": settings_of_fit(wildcards.fit, found["causal"])}


def settings_of_latent_fit(wildcards):
    """What decides one fit; of the causal section, the number of folds where one is held out."""
    fits = settings_of_fit(wildcards.fit, SETTINGS["causal"])
    folds = {key: value for key, value in fits.items() if key == "drug_folds"}
    return {**settings_of("latent", "seed", "backend"), "causal": folds}


def weights_of_evidence(wildcards):
    """Causal fits whose W is a column, by name of the column; nulls and bootstraps have no prior, folds have it."""
    fit = wildcards.fit
    if fit == "main":
        fits = {"weight": "main", "weight_no_prior": "noprior"}
    else:
        fits = {"weight" if fit.startswith("drugs") else "weight_no_prior": fit}
    return {
        name: f"{RUN}/causal/{used}/model.safetensors" for name, used in fits.items()
    }


def per_plate(pattern):
    """One path per plate."""
    return expand(pattern, plate=list(PLATES))


def counts_of(wildcards):
    """Input of a plate: its file or folder; of an mtx folder, its files."""
    return input_files(PLATES[wildcards.plate].counts, CONFIG.input.format)


def inside_of(wildcards):
    """What is in the folder that a plate is read from, as a parameter: a file rewritten in it does not change the folder."""
    return folder_digest(PLATES[wildcards.plate].counts)


def tables_of(wildcards):
    """Tables that reading a plate needs beside its counts: further obs columns, and the genes of tokens."""
    return table_paths(CONFIG.input, wildcards.plate)


def embedding_files(plates):
    """Files of precomputed embeddings of some plates; none where the input holds them."""
    path = CONFIG.embedding.path if CONFIG.embedding.source == "precomputed" else None
    return sorted({path_of_plate(path, name) for name in plates}) if path else []


def embedding_of(wildcards):
    """What a precomputed embedding of a plate is read from: its input, which also tells the order of the cells, and the file of the embedding."""
    if CONFIG.embedding.source != "precomputed":
        return []
    return [*counts_of(wildcards), *embedding_files([wildcards.plate])]


def place_of(wildcards):
    """Where a plate is, as a resource: the same bytes in another place are the same plate."""
    return PLATES[wildcards.plate].counts


def plate_of(wildcards):
    """Row of the plate table but for where it is, as a parameter."""
    plate = PLATES[wildcards.plate]
    return dict(
        name=plate.name,
        num_sharing=plate.num_sharing,
        constants=dict(plate.constants),
    )


LARGE_PLATES = one_of(name for name, number in NUM_SHARDS.items() if number > 1)


def shards_of(wildcards):
    """Sums of the shards of a large plate."""
    number = NUM_SHARDS[wildcards.plate]
    return expand(
        f"{RUN}/moments/shards/{{plate}}/{{shard}}of{{number}}.npz",
        plate=wildcards.plate,
        shard=range(1, number + 1),
        number=number,
    )


def stands(stage):
    """Whether a pinned stage stays as it is. Jobs on a cluster parse this file too; they need every rule."""
    if not workflow.is_main_process:
        return False
    return is_pinned(stage, pins_with(stage), PINS, requested_rules(sys.argv))


def pins_with(stage):
    """Fingerprints among which that of this stage is: a model may be trained on request that the run does not use."""
    return FINGERPRINTS if stage in FINGERPRINTS else fingerprints(CONFIG, [stage])


def fingerprint_of(stage):
    """What decides a pinned stage."""
    return pins_with(stage)[stage]


def resource_inputs(wildcards):
    """Files of the resources in use: simulated, local, or fetched by the http storage plugin."""
    files = resource_files(CONFIG)
    return {
        name: storage(where) if "://" in where else where
        for name, where in files.items()
    }


def run_inputs(wildcards):
    """Files that came from outside: plate table, counts and their tables, or a table of conditions, and targets and local resources."""
    files = [plate.counts for plate in PLATES.values()]
    files += [path for name in PLATES for path in table_paths(CONFIG.input, name)]
    files += [path for path in (CONFIG.plates, CONFIG.perturbation.targets) if path]
    files += embedding_files(PLATES)
    if HAS_CELLS and CONFIG.embedding.source == "tx1":
        files += model_files(CONFIG.embedding.model)
    if not HAS_CELLS:
        files += filter(
            None, [CONFIG.condition_table.path, CONFIG.condition_table.errors]
        )
    return files + [
        path for path in resource_files(CONFIG).values() if "://" not in path
    ]


def stores_of_model():
    """Cell stores of the plates that the model is trained on; of a pinned one those that the run still has.

    A new plate judges nothing again. A run that has none of them judges on all of its own, which the model never saw.
    """
    trained_on = PLATES
    if stands("pretraining") and os.path.exists(STORES_ROLL):
        with open(STORES_ROLL) as file:
            trained_on = set(json.load(file)) & set(PLATES) or PLATES
    return [
        rules.quality.output.cells.format(plate=plate)
        for plate in PLATES
        if plate in trained_on
    ]
