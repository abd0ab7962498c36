"""What all rules share: the validated configuration, paths, plates, digests of code, memory by attempt."""

import re
import sys

from causcade.code_digest import code_digest
from causcade.errors import ConfigError
from causcade.fits import settings_of_fit
from causcade.pins import fingerprints, is_pinned, requested_rules
from causcade.plates import list_plates
from causcade.validation import load_config, resource_files

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
PINS = f"{RUN}/pins"
STAGES = [
    "resources",
    "checks",
    "targets",
    "quality",
    "panel",
    "coexpression",
    "mask",
    "embedding",
    "basal",
    "conditions",
    "causal",
    "network",
    "evaluation",
    "cascades",
]
FINGERPRINTS = fingerprints(CONFIG)


wildcard_constraints:
    plate="|".join(re.escape(name) for name in PLATES),
    fit="main|noprior|edgenull[0-9]+|labelnull[0-9]+|boot[0-9]+|drugs[0-9]+|line_.+",


def settings_of(*sections):
    """Sections of the resolved configuration, by name; keys of a section as `section.key`."""
    found = {}
    for name in sections:
        value = SETTINGS
        for key in name.split("."):
            value = value[key]
        found[name] = value
    return found


def settings_of_this_fit(wildcards):
    """What decides one fit; how many nulls or bootstraps there are does not."""
    found = settings_of("causal", "seed", "backend")
    return {**found, "causal": settings_of_fit(wildcards.fit, found["causal"])}


def per_plate(pattern):
    """One path per plate."""
    return expand(pattern, plate=list(PLATES))


def counts_of(wildcards):
    """Input file of a plate."""
    return PLATES[wildcards.plate].counts


def plate_of(wildcards):
    """Row of the plate table, as a parameter."""
    plate = PLATES[wildcards.plate]
    return dict(
        name=plate.name,
        counts=plate.counts,
        num_sharing=plate.num_sharing,
        constants=dict(plate.constants),
    )


def small(wildcards, attempt):
    """Memory in MB of a job on tables."""
    return 2000 * attempt


def large(wildcards, attempt):
    """Memory in MB of a job on cells or gene pairs."""
    return 4000 * attempt


def minutes(wildcards, attempt):
    """Run time in minutes; profiles set it by rule for large screens."""
    return 60 * attempt


def stands(stage):
    """Whether a pinned stage stays as it is. Jobs on a cluster parse this file too; they need every rule."""
    if not workflow.is_main_process:
        return False
    return is_pinned(stage, FINGERPRINTS, PINS, requested_rules(sys.argv))


def resource_inputs(wildcards):
    """Files of the resources in use: simulated, local, or fetched by the http storage plugin."""
    files = resource_files(CONFIG)
    return {
        name: storage(where) if "://" in where else where
        for name, where in files.items()
    }


def run_inputs(wildcards):
    """Files that came from outside: plate table, counts, targets and local resources."""
    files = [plate.counts for plate in PLATES.values()]
    files += [path for path in (CONFIG.plates, CONFIG.perturbation.targets) if path]
    return files + [
        path for path in resource_files(CONFIG).values() if "://" not in path
    ]
