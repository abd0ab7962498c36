"""State of an unfinished training: weights, optimiser and step, written whole or not at all.

The order of the cells, the masks and the dropout are functions of the seed and the step, so that the step is the position in the data and the state
of all random numbers too. Each process writes its part (torch's distributed checkpoints), and any number of processes reads them.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from causcade.errors import InputError
from causcade.files import read_json, replacing, write_json
from causcade.tx1.parallel import Group

__all__ = ["read_state", "write_state"]

logger = logging.getLogger(__name__)

FACTS = "state.json"

Optimisers = Sequence[torch.optim.Optimizer]


def write_state(folder: Path, group: Group, model: nn.Module, optimisers: Optimisers, facts: dict[str, Any]) -> None:
    """Write the state of a training as the folder `folder`; an older one stays until the new one is whole.

    Parameters
    ----------
    folder
        Folder of the state, on a file system that all processes see.
    group
        The processes; all of them have to call it.
    model, optimisers
        What is trained; the model without its DDP wrapper.
    facts
        What else to keep, as JSON; `step` and `fingerprint` are among it.
    """
    if not group.is_first:
        _write_parts(Path(group.gathered(None)[0]), group, model, optimisers)
        group.wait()
        return
    with replacing(folder) as temporary:
        temporary.mkdir()
        _write_parts(Path(group.gathered(str(temporary))[0]), group, model, optimisers)
        sizes = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
        write_json(temporary / FACTS, facts | {"files": sizes})
    group.wait()


def _write_parts(folder: Path, group: Group, model: nn.Module, optimisers: Optimisers) -> None:
    from torch.distributed.checkpoint.state_dict_saver import save

    with _alone():
        save(_parts(model, optimisers), checkpoint_id=folder, no_dist=group.size == 1)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Silence torch's notice that a single process saves alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _parts(model: nn.Module, optimisers: Optimisers) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import get_state_dict

    weights, moments = get_state_dict(model, optimisers)
    return {"model": weights, "optimiser": moments}


def read_state(folder: Path, group: Group, model: nn.Module, optimisers: Optimisers, *, fingerprint: str) -> dict[str, Any] | None:
    """Read a state into model and optimiser; all processes have to call it.

    Parameters
    ----------
    folder
        Folder of the state.
    group
        The processes, in any number.
    model, optimisers
        What is trained; the model without its DDP wrapper.
    fingerprint
        What the training depends on. A state of something else is moved aside (`<folder>-other`) and the training begins anew, with a warning.

    Returns
    -------
    dict or None
        The facts that were written with it; None where there is no state to go on from.

    Raises
    ------
    InputError
        If a file of the state is missing or damaged.
    """
    if not folder.exists():
        return None
    try:
        facts: dict[str, Any] = read_json(folder / FACTS)
        wrong = [name for name, size in facts["files"].items() if not (folder / name).is_file() or (folder / name).stat().st_size != size]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damage(folder, f"no readable {FACTS} ({error})") from None
    if facts["fingerprint"] != fingerprint:
        group.wait()  # all have read it before it is moved
        if group.is_first:
            aside = folder.with_name(f"{folder.name}-other")
            message = "%s: the checkpoint (step %d) is of other data, settings or code; it is kept as %s, and training begins anew"
            logger.warning(message, folder, facts["step"], aside)
            with replacing(aside) as temporary:
                folder.rename(temporary)
        group.wait()
        return None
    if wrong:
        raise _damage(folder, f"{', '.join(wrong)} missing or of another size")
    _read_parts(folder, group, model, optimisers)
    return facts


def _read_parts(folder: Path, group: Group, model: nn.Module, optimisers: Optimisers) -> None:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.state_dict import set_state_dict
    from torch.distributed.checkpoint.state_dict_loader import load

    parts = _parts(model, optimisers)
    try:
        with _alone():
            load(parts, checkpoint_id=folder, no_dist=group.size == 1)
    except (CheckpointException, OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise _damage(folder, f"a damaged part ({(str(error).splitlines() or [type(error).__name__])[0]})") from None
    set_state_dict(model, optimisers, model_state_dict=parts["model"], optim_state_dict=parts["optimiser"])


def _damage(folder: Path, what: str) -> InputError:
    return InputError(f"{folder}: expected a whole checkpoint, found {what}. Delete the folder to begin the training anew.")
