"""Command line `causcade`: what is not the workflow.

validate, plates, simulate, score, predict, infer, doctor, config. Expected errors are one message and exit status 2; `--debug` shows the traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causcade import __version__
from causcade.errors import CauscadeError, ConfigError, InputError
from causcade.runtime import EXIT_USER_ERROR

if TYPE_CHECKING:
    from causcade.config import ConditionTableConfig, Config, PerturbationConfig
    from causcade.resources.identifiers import Resolver

__all__ = ["main"]

DEFAULT_CONFIG = Path("config/config.yaml")
ATLAS_CONFIG = Path("config/tahoe100m.yaml")
READING_SECTIONS = ("plates", "condition_table", "input", "perturbation", "resources.hgnc")


def _say(text: str) -> None:
    """Print for the person at the terminal."""
    print(text)  # noqa: T201


def _load(path: Path | None, *, check_files: bool = True) -> Config:
    """Load the shipped configuration with `path` merged over it, as the workflow does."""
    from causcade.validation import load_config, merge, read_yaml

    over = {} if path is None else read_yaml(path)
    base = read_yaml(DEFAULT_CONFIG) if DEFAULT_CONFIG.is_file() else {}
    return load_config(merge(base, over), check_files=check_files)


def _validate(arguments: argparse.Namespace) -> None:
    """Check a configuration, its files and its cells; every mistake at once."""
    try:
        config = _load(arguments.config)
    except ConfigError as error:
        # the cells are looked at nevertheless, unless what is wrong decides how they are read
        is_readable = not any(key == section or key.startswith(f"{section}.") for key in error.wrong for section in READING_SECTIONS)
        looked = _survey(error.rest)[1] if error.rest is not None and is_readable else []
        found = [mistake for mistake in looked if mistake not in error.mistakes]
        if found:
            raise ConfigError([*error.mistakes, *found], where="the configuration and the data") from None
        raise
    if config.is_simulated:
        _say(f"{arguments.config}: valid (the simulated screen, {len(config.simulation.plates)} plates)")
        return
    screen, mistakes = _survey(config)
    if mistakes or screen is None:
        raise ConfigError(mistakes, where="the data")
    for warning in screen["warnings"]:
        _say(f"warning: {warning}")
    if not config.has_cells:
        size = f"{screen['num_conditions']:,} conditions x {screen['num_genes']:,} genes"
        _say(f"{arguments.config}: valid (a table of {size}, {len(screen['kinds'])} perturbations)")
        return
    looks = screen["plates"].values()
    cells = sum(look["num_cells"] for look in looks)
    _say(f"{arguments.config}: valid ({len(looks)} plates, {cells:,} cells, {len(screen['kinds'])} perturbations)")


def _survey(config: Config) -> tuple[dict[str, Any] | None, list[str]]:
    """Check the data of a configuration as far as its files are there."""
    from causcade.checks import survey
    from causcade.plates import scan_plate_table
    from causcade.targets import read_target_table

    if config.is_simulated:
        return None, []
    resolver, mistakes = _resolver(config)
    table = config.perturbation.targets
    if table is not None and Path(table).is_file():
        try:
            read_target_table(table)
        except InputError as error:
            mistakes.append(str(error))
    if config.condition_table is not None:
        screen, found = _survey_table(config.condition_table, config.perturbation, resolver)
        return screen, [*mistakes, *found]
    plates, wrong_rows = scan_plate_table(str(config.plates), check_files=True)
    screen, found = survey(plates, config, resolver, is_whole=not wrong_rows) if plates else (None, [])
    return screen, list(dict.fromkeys([*mistakes, *found]))


def _survey_table(
    settings: ConditionTableConfig, perturbation: PerturbationConfig, resolver: Resolver | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """Read a table of conditions as far as a run does before its first fit; what is wrong with it, if anything, as the second value."""
    from causcade import condition_table

    if not all(Path(path).is_file() for path in (settings.path, settings.errors) if path is not None):
        return None, []
    try:
        responses, check = condition_table.measure_table(settings, perturbation)
        condition_table.store_of_responses(responses, resolver)
    except InputError as error:
        return None, [str(error)]
    return check, []


def _resolver(config: Config) -> tuple[Resolver | None, list[str]]:
    """Read the local HGNC table, if there is one; the second value says what is wrong with it."""
    from causcade.resources.identifiers import Resolver
    from causcade.validation import resource_files

    path = resource_files(config).get("hgnc", "")
    if not Path(path).is_file():
        return None, []
    try:
        return Resolver.from_hgnc(path), []
    except CauscadeError as error:
        return None, [str(error)]


def _plates(arguments: argparse.Namespace) -> None:
    """Print a plate table with one row per plate of a file."""
    from causcade.labels import plate_names
    from causcade.plates import write_plate_table
    from causcade.readers import CountsFile

    config = _load(arguments.config, check_files=False)
    with CountsFile(arguments.file, config.input) as file:
        _say(write_plate_table(plate_names(file.obs, str(arguments.file), config.input), str(arguments.file)).rstrip("\n"))


def _simulate(arguments: argparse.Namespace) -> None:
    """Write the simulated screen of a configuration to a folder, outside of any run."""
    from causcade import simulation
    from causcade.files import write_text

    config = _load(arguments.config, check_files=False)
    folder = Path(arguments.folder)
    simulation.write_resources(config.simulation, config.seed, folder / "resources")
    simulation.write_truth(config.simulation, config.seed, folder / "truth")
    for plate in config.simulation.plates:
        simulation.simulate_plate(config.simulation, config.seed, plate, folder / f"{plate}.h5ad")
    rows = "".join(f"{plate}\t{folder / plate}.h5ad\n" for plate in config.simulation.plates)
    write_text(folder / "plates.tsv", "plate\tcounts\n" + rows)
    _say(f"{folder}: {len(config.simulation.plates)} plates, plates.tsv, resources/, truth/")


def _score(arguments: argparse.Namespace) -> None:
    """Judge any network with the references, controls and baselines of the stage `evaluation`."""
    from causcade import score
    from causcade.config import Config

    config = None if arguments.config is None else _load(arguments.config, check_files=False)
    inputs = score.gather(
        arguments.edges, config, candidates=arguments.candidates, all_pairs=arguments.all_pairs, truth=arguments.truth
    )  # fmt: skip
    settings = Config() if config is None else config
    found = score.judge(inputs, settings.evaluation, settings.seed)
    _say(score.format_score(found))
    if arguments.output is not None:
        score.write_score(found, arguments.output)
        _say(f"\nwrote {arguments.output}: scores.tsv, score.json and the tables of the evaluation")


def _predict(arguments: argparse.Namespace) -> None:
    """Predict the change of expression under perturbations and genes that are set, by a fit of a run."""
    from causcade import prediction

    fit, controls = prediction.read_run(_load(arguments.config, check_files=False), arguments.fit)
    found = prediction.predict(
        fit,
        [prediction.parse_dosed(text, fit.perturbations) for text in arguments.perturbations],
        [prediction.parse_intervention(text) for text in arguments.do],
        controls=controls,
        cell_line=arguments.line,
    )
    if arguments.output is not None:
        prediction.write_prediction(found, arguments.output)
    _say(prediction.format_prediction(found, arguments.best))
    if arguments.output is not None:
        _say(f"\nwrote {arguments.output}: {len(found.table):,} genes")


def _infer(arguments: argparse.Namespace) -> None:
    """Infer a network from a table of conditions x genes, without cells."""
    from causcade import condition_table, files, infer
    from causcade.responses import aggregate
    from causcade.targets import build_targets, read_target_table

    settings = _load(arguments.config, check_files=False)
    table = condition_table.read_condition_table(arguments.table, errors=arguments.errors)
    labels = condition_table.labels_of_table(table, kind=arguments.kind, control=arguments.control)
    override = None if arguments.targets is None else read_target_table(arguments.targets)
    targets = build_targets(labels, condition_table.NO_DRUGS, override, separator=settings.perturbation.separator)
    responses = condition_table.responses_of_table(
        table, targets, values=arguments.values, kind=arguments.kind, control=arguments.control, pseudocount=arguments.pseudocount
    )
    priors = None if arguments.priors is None else files.read_parquet(arguments.priors)
    found = infer.infer_network(aggregate(responses), targets, settings, priors=priors)
    infer.write_inferred(found, arguments.output, settings)
    _say(infer.format_inferred(found))
    _say(f"\nwrote {arguments.output}: edges.parquet, edges.tsv, network.graphml, regulons.gmt, summary.json and the tables that they rest on")


def _doctor(arguments: argparse.Namespace) -> None:
    """Print devices, versions, disk, and what a configuration will need."""
    from causcade.doctor import examine

    given = [path for path in (arguments.config, arguments.configfile) if path is not None]
    if len(given) > 1:
        raise InputError(f"doctor: expected one configuration, found {given[0]} and --configfile {given[1]}. Leave one out.")
    config = _load(given[0] if given else None, check_files=False)
    atlas = _load(ATLAS_CONFIG, check_files=False) if ATLAS_CONFIG.is_file() else None
    _say(
        examine(
            config,
            None if arguments.tflops is None else arguments.tflops * 1e12,
            profile=arguments.profile,
            measured=arguments.measured,
            measure=arguments.measure,
            atlas=None if atlas is None or atlas.plates == config.plates else atlas,
        )
    )


def _config(arguments: argparse.Namespace) -> None:
    """Write config.yaml and schema.json from the model."""
    from causcade.config_files import config_schema, config_yaml
    from causcade.files import write_text

    write_text(arguments.folder / "config.yaml", config_yaml())
    write_text(arguments.folder / "schema.json", config_schema())
    _say(f"wrote {arguments.folder / 'config.yaml'} and {arguments.folder / 'schema.json'}")


def _parser() -> argparse.ArgumentParser:
    description = "From perturbation atlases to directed gene regulatory networks. The chain itself is run by snakemake."
    parser = argparse.ArgumentParser(prog="causcade", description=description)
    parser.add_argument("--version", action="version", version=f"causcade {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of expected errors too")
    commands = parser.add_subparsers(required=True, metavar="command")
    config_help = "configuration file, merged over config/config.yaml"

    validate = commands.add_parser("validate", help="check a configuration, its files and its cells; prints every mistake")
    validate.add_argument("config", type=Path, help=config_help)
    validate.set_defaults(run=_validate)

    plates = commands.add_parser("plates", help="print the plate table of a file that holds several plates")
    plates.add_argument("file", type=Path, help="h5ad, AnnData zarr, 10x h5, mtx folder or Tahoe parquet (file or folder)")
    plates.add_argument("--config", type=Path, help=config_help)
    plates.set_defaults(run=_plates)

    simulate = commands.add_parser("simulate", help="write the simulated screen to a folder")
    simulate.add_argument("folder", type=Path)
    simulate.add_argument("--config", type=Path, help=config_help)
    simulate.set_defaults(run=_simulate)

    score = commands.add_parser("score", help="judge any network with the references, controls and baselines of the evaluation")
    score.add_argument("edges", type=Path, help="table (tsv, csv or parquet) with the columns source, target, weight; ranked by |weight|")
    score.add_argument("--config", type=Path, help="its run, or the local files of its references, judge; " + config_help)
    score.add_argument("--truth", type=Path, help="table of the true edges: source, target and, if known, sign (-1, 1)")
    pairs = score.add_mutually_exclusive_group()
    pairs.add_argument("--candidates", type=Path, help="table of the pairs to judge (source, target), in place of the run's candidate edges")
    pairs.add_argument("--all-pairs", action="store_true", help="judge all ordered pairs among the genes of the network")
    score.add_argument("--output", type=Path, help="folder for scores.tsv, score.json and the tables of the evaluation")
    score.set_defaults(run=_score)

    predict = commands.add_parser("predict", help="predict the change of expression under perturbations, several at once, or genes that are set")
    predict.add_argument("perturbations", nargs="*", metavar="PERTURBATION", help="NAME, or NAME@DOSE; several are given together")
    what = "GENE=knockout, GENE=knockdown:0.25 (share left), GENE=activation:4 (fold) or GENE=-1.5 (change of log1p CP10k); may be repeated"
    predict.add_argument("--do", action="append", default=[], metavar="GENE=LEVEL", help=what)
    predict.add_argument("--line", help="cell line whose controls give fold changes and levels; default: all")
    predict.add_argument("--config", type=Path, help="its run is read; " + config_help)
    predict.add_argument("--fit", default="main", help="fit of the causal module; default: main")
    predict.add_argument("--best", type=int, default=20, help="genes to print, largest change first; default: 20")
    predict.add_argument("--output", type=Path, help="file for all genes: .parquet, .tsv or .csv")
    predict.set_defaults(run=_predict)

    infer = commands.add_parser("infer", help="network from a table of conditions x genes, without cells (pseudobulk, L1000, bulk knockouts)")
    infer.add_argument("table", type=Path, help="h5ad, parquet, tsv or csv: perturbation (and kind, dose, cell_line, plate); other columns are genes")
    infer.add_argument("--values", required=True, choices=["log", "expression", "counts", "change"], help="what a value is; change: against controls")
    infer.add_argument("--kind", default="", help="drug, knockout, crispri or crispra, where the table has no column kind")
    infer.add_argument("--control", default="control", help="label of controls; without any, the median over conditions stands in. Default: control")
    infer.add_argument("--pseudocount", type=float, default=0.0, help="added to `expression` before the logarithm")
    infer.add_argument("--errors", type=Path, help="table of standard errors, same rows and genes; else they are estimated")
    infer.add_argument("--targets", type=Path, help="table perturbation, target, sign; drugs need it")
    infer.add_argument("--priors", type=Path, help="curated edges that become candidates too, such as resources/prior_edges.parquet of a run")
    infer.add_argument("--config", type=Path, help="sections mask, latent, causal (nulls, bootstraps, folds) and network count; " + config_help)
    infer.add_argument("--output", type=Path, required=True, help="folder for the network")
    infer.set_defaults(run=_infer)

    doctor = commands.add_parser("doctor", help="devices, versions, disk, and what a configuration will take: time, memory, disk, stage by stage")
    doctor.add_argument("config", type=Path, nargs="?", help=config_help)
    doctor.add_argument("--configfile", type=Path, metavar="FILE", help="the same, as snakemake calls it")
    profile = (
        "name or path of a Snakemake profile: what it asks for and takes; also measures the disk and sums over processes (NCCL, or gloo without GPUs)"
    )
    doctor.add_argument("--profile", help=profile)
    doctor.add_argument("--measured", type=Path, metavar="FOLDER", help="finished run (results/<run>) that tells how fast this machine is")
    doctor.add_argument("--measure", action="store_true", help="measure for some seconds how fast this processor is, and a GPU where there is one")
    doctor.add_argument("--tflops", type=float, help="measured rate of the TX1 model in TFLOP/s, for its time on a GPU")
    doctor.set_defaults(run=_doctor)

    config = commands.add_parser("config", help="write config.yaml and schema.json anew from the model (for developers)")
    config.add_argument("folder", type=Path, nargs="?", default=Path("config"))
    config.set_defaults(run=_config)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except CauscadeError as error:
        if parsed.debug:
            raise
        print(f"causcade: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_USER_ERROR
    except BrokenPipeError:
        # Who reads the output, such as `head`, has seen enough; without this, Python would fail once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
