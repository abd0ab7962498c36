"""The training loop of TX1.

A step takes the cells that the stream names for it, micro-batch by micro-batch, clips the gradient and lets the optimiser step. Everything random in
a step is a function of the seed and the step, so that a training that was stopped goes on as if it had not been (bitwise on a CPU).

Axes: M micro-batches of a step.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from causcade.errors import InputError
from causcade.runtime import Progress
from causcade.stopping import Stopped, stop_requests
from causcade.tx1.memory import cut_micros, is_out_of_memory
from causcade.tx1.model import Tx1
from causcade.tx1.muon import OptimiserName, optimisers_of
from causcade.tx1.objective import Mode, loss_factor, scale_targets, squared_errors, squared_unit
from causcade.tx1.optimiser import Schedule, rate_factor
from causcade.tx1.parallel import Group
from causcade.tx1.seeds import name_key
from causcade.tx1.shape import forward_flops
from causcade.tx1.stream import Micro, StepBatch, TrainingStream, empty_micro, prefetched
from causcade.tx1.training_log import TrainingLog, peak_flops
from causcade.tx1.training_state import read_state, write_state

__all__ = ["OptimiserName", "Precision", "TrainingSettings", "computes_in_bfloat16", "precision_context", "train"]

logger = logging.getLogger("causcade")

Precision = Literal["auto", "float32", "bfloat16"]

BACKWARD_FACTOR = 3  # forward and backward pass, in forward passes


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How to train.

    Attributes
    ----------
    steps
        Optimiser steps.
    learning_rate, weight_decay
        Highest learning rate; share of a parameter that a step takes away at that rate.
    warmup
        Share of the steps over which the rate rises.
    schedule
        `cosine`, `linear` or `constant`, after the warm-up (:func:`causcade.tx1.optimiser.rate_factor`).
    optimiser
        `adamw`, as published, or `muon`: :class:`causcade.tx1.muon.Muon` for inner matrices and AdamW for the rest. Not with FSDP.
    clip
        Largest norm of the gradient.
    precision
        `auto`: bfloat16 on a GPU, float32 on a CPU. Weights and optimiser are float32 always.
    mode
        Weighting of masked genes (:func:`causcade.tx1.objective.loss_factor`).
    seed
        Of the dropout.
    checkpoint_every, log_every, validate_every
        Steps between them; None: never, and once at the end.
    compile
        Compile the layers with torch.compile.
    recompute
        Keep only the inputs of layers and compute the rest again for the gradient: less memory, a third more work.
    """

    steps: int
    learning_rate: float
    weight_decay: float = 1e-5
    warmup: float = 0.05
    schedule: Schedule = "cosine"
    optimiser: OptimiserName = "adamw"
    clip: float = 1.0
    precision: Precision = "auto"
    mode: Mode = "exact"
    seed: int = 0
    checkpoint_every: int = 200
    log_every: int = 10
    validate_every: int | None = None
    compile: bool = False
    recompute: bool = False


def computes_in_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Whether the model computes in bfloat16."""
    return precision == "bfloat16" or (precision == "auto" and device.type == "cuda")


def precision_context(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Context in which the model computes."""
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bfloat16(precision, device))


def train(
    model: Tx1,
    stream: TrainingStream,
    settings: TrainingSettings,
    group: Group,
    *,
    folder: Path,
    fingerprint: str,
    validate: Callable[[Tx1], dict[str, float]] | None = None,
) -> None:
    """Train a model in place.

    Parameters
    ----------
    model
        On the group's device, with equal weights in all processes. With FSDP its parameters stay spread over the processes
        (:func:`causcade.tx1.parallel.whole_state`).
    stream
        Batches of this process.
    settings
        How.
    group
        The processes.
    folder
        Where the state (`state/`), `metrics.jsonl` and event files are kept; a training that was stopped there goes on.
    fingerprint
        What the training depends on; a state of something else is not gone on from.
    validate
        Judges the model; its values are recorded. All processes call it.

    Raises
    ------
    Stopped
        After SIGTERM or SIGUSR1, when the state is saved.
    InputError
        If the gradient is not finite; the last saved state stays.
    """
    devices = [group.device] if group.device.type == "cuda" else []
    with stop_requests() as is_stopping, torch.random.fork_rng(devices=devices):
        trainer = _Trainer(model, stream, settings, group, folder, is_stopping)
        trainer.resume(fingerprint)
        trainer.run(fingerprint, validate)


class _Window:
    """What was done since the last record."""

    def __init__(self, device: torch.device) -> None:
        self.errors = torch.zeros(2, dtype=torch.float64, device=device)  # stays on the device
        self.num_masked = self.num_cells = self.num_tokens = 0
        self.flops = 0.0
        self.started = time.monotonic()


class _Trainer:
    """State of a training, and one step of it."""

    def __init__(
        self, model: Tx1, stream: TrainingStream, settings: TrainingSettings, group: Group, folder: Path, is_stopping: Callable[[], bool]
    ) -> None:
        self.model, self.stream, self.settings, self.group, self.folder, self.is_stopping = model, stream, settings, group, folder, is_stopping
        self.step, self.num_empty = 0, 0
        self.most_positions: int | None = None  # of a micro-batch, once memory has run out
        if settings.recompute:
            model.recompute_layers()
        if settings.compile:
            model.compile_layers()
        in_bfloat16 = computes_in_bfloat16(settings.precision, group.device)
        self.wrapped = group.wrap(model, list(model.layers), in_bfloat16=in_bfloat16)
        trained = [value for value in model.parameters() if value.requires_grad]
        self.optimisers = optimisers_of(
            model, settings.optimiser, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay,
            is_fused=group.device.type == "cuda",
        )  # fmt: skip
        self.parameters = trained
        self.num_warmup = round(settings.warmup * settings.steps)
        self.peak = peak_flops(group.device) if in_bfloat16 else None
        self.window = _Window(group.device)

    def resume(self, fingerprint: str) -> None:
        """Go on from a saved state, if there is one."""
        facts = read_state(self.folder / "state", self.group, self.model, self.optimisers, fingerprint=fingerprint)
        if facts is not None:
            self.step = facts["step"]
            logger.info("resumed from step %d of %d", self.step, self.settings.steps)

    def run(self, fingerprint: str, validate: Callable[[Tx1], dict[str, float]] | None) -> None:
        """Take the remaining steps."""
        progress = Progress(self.settings.steps - self.step, "steps")
        self.folder.mkdir(parents=True, exist_ok=True)
        with TrainingLog(self.folder, self.step) if self.group.is_first else contextlib.nullcontext() as log:
            batches = prefetched(self.stream.steps(self.step, self.settings.steps))
            with contextlib.closing(batches):  # type: ignore[type-var]
                for batch in batches:
                    norm = self.advance(batch, fingerprint)
                    progress.advance()
                    self._after_step(log, norm, fingerprint, validate)

    def _after_step(self, log: TrainingLog | None, norm: float, fingerprint: str, validate: Callable[[Tx1], dict[str, float]] | None) -> None:
        """Record, judge and save where it is time."""
        settings, is_last = self.settings, self.step == self.settings.steps
        if is_last or self.step % settings.log_every == 0:
            values = self._record(norm)
            if log is not None:
                log.add(self.step, values)
        if validate is not None and (is_last or (settings.validate_every is not None and self.step % settings.validate_every == 0)):
            values = validate(self.model)
            if log is not None:
                log.add(self.step, values)
                logger.info("step %d: %s", self.step, ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
            self.window.started = time.monotonic()
        if is_last or self.step % settings.checkpoint_every == 0:
            self.save(fingerprint)

    def save(self, fingerprint: str) -> None:
        """Save the state of the steps taken so far."""
        write_state(self.folder / "state", self.group, self.model, self.optimisers, {"step": self.step, "fingerprint": fingerprint})

    def advance(self, batch: StepBatch, fingerprint: str) -> float:
        """One step; returns the norm of the gradient before clipping."""
        settings, group = self.settings, self.group
        total, num_stopping = group.sums(batch.num_masked, self.is_stopping())
        if num_stopping:
            self._stop(fingerprint)
        for optimiser in self.optimisers:
            optimiser.set_rate(rate_factor(self.step, settings.steps, self.num_warmup, settings.schedule))
        if total == 0:
            self._pass_over()
            return 0.0
        before = self.window.errors
        while not self._passes(batch := self._cut(batch), int(total), fingerprint):
            self._go_smaller(batch)
            self.window.errors = before
        norm = self._clip()
        for optimiser in self.optimisers:
            optimiser.step()
        self.model.zero_grad(set_to_none=True)
        self._count(batch)
        self.step += 1
        return norm

    def _cut(self, batch: StepBatch) -> StepBatch:
        """Cut micro-batches that memory did not hold before."""
        return batch if self.most_positions is None else batch._replace(micros=cut_micros(batch.micros, self.most_positions))

    def _go_smaller(self, batch: StepBatch) -> None:
        """After memory ran out: forget the gradient so far, and halve the largest micro-batch from now on."""
        longest = max(micro.batch.gene_BL.shape[1] for micro in batch.micros)
        largest = max(micro.batch.gene_BL.numel() for micro in batch.micros)
        if self.group.size > 1 or self.settings.mode != "exact" or all(len(micro.batch.gene_BL) == 1 for micro in batch.micros):
            raise InputError(
                f"TX1: expected memory for micro-batches of up to {largest:,} tokens (cells of up to {longest:,}) on {self.group.device}, found too "
                "little. Lower `pretraining.micro_cells` or `max_length`, or take a smaller model; the state of the last checkpoint is kept."
            )
        self.most_positions = max(largest // 2, 1)
        logger.warning("out of memory with %d tokens at a time: going on with half as many", largest)
        self.model.zero_grad(set_to_none=True)
        if self.group.device.type == "cuda":
            torch.cuda.empty_cache()

    def _passes(self, batch: StepBatch, total: int, fingerprint: str) -> bool:
        """Make the passes of a step; False where memory ran out."""
        group = self.group
        torch.manual_seed(name_key("dropout", self.settings.seed, self.step, group.rank) >> 1)
        self.model.train()
        # Processes exchange parts of the model or the gradient in each pass: all make as many, at least one.
        num_passes = group.largest(max(len(batch.micros), 1))
        for number in range(num_passes):
            if group.size == 1 and self.is_stopping():
                self.model.zero_grad(set_to_none=True)
                self._stop(fingerprint)
            micro = batch.micros[number] if number < len(batch.micros) else None
            try:
                with group.gradients(self.wrapped, are_complete=number == num_passes - 1):
                    self._pass(micro, total, len(batch.micros))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                return False
        return True

    def _pass(self, micro: Micro | None, total: int, num_micro: int) -> None:
        """Forward and backward pass of a micro-batch, or of an empty one that changes nothing."""
        settings, device = self.settings, self.group.device
        micro = micro or empty_micro(has_drugs=self.model.shape.drugs is not None)
        if device.type == "cuda":
            micro = Micro(micro.batch.pin_memory(), micro.target_BL.pin_memory(), micro.num_masked)
        batch, target_BL = micro.batch.to(device), micro.target_BL.to(device, non_blocking=True)
        if self.model.shape.standard_scale_outputs:
            target_BL = scale_targets(target_BL, self.stream.num_bins)
        with precision_context(settings.precision, device):
            output = self.wrapped(batch, decode=True)
        if batch.is_masked_BL is None:
            raise AssertionError("a micro-batch always has a mask")
        errors = squared_errors(output, target_BL, batch.is_masked_BL)
        factor = loss_factor(micro.num_masked, total=total, num_micro=num_micro, num_processes=self.group.size, mode=settings.mode)
        ((errors.expression + errors.product) * factor).backward()  # type: ignore[no-untyped-call]
        self.window.errors = self.window.errors + torch.stack([errors.expression, errors.product]).detach()

    def _clip(self) -> float:
        """Clip the gradient; equal in all processes."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        if hasattr(norm, "full_tensor"):
            norm = norm.full_tensor()
        value = float(norm)  # waits for the device: a step with a gradient that is not finite must not be taken
        if not math.isfinite(value):
            raise InputError(
                f"TX1: expected a finite gradient, found one of norm {value} at step {self.step + 1}. Lower `pretraining.learning_rate`; "
                "the state of the last checkpoint is kept."
            )
        return value

    def _stop(self, fingerprint: str) -> None:
        """Save and raise."""
        self.save(fingerprint)
        where = f"{self.step} of {self.settings.steps}"
        raise Stopped(f"TX1: the training was stopped at step {where} and its state is saved. Run again to go on from there.")

    def _pass_over(self) -> None:
        """Count a step in which nothing was masked."""
        if self.num_empty == 0:
            logger.warning("step %d has no masked gene (cells of one or two genes, or none of the vocabulary): it changes nothing", self.step + 1)
        self.num_empty += 1
        self.step += 1

    def _count(self, batch: StepBatch) -> None:
        window = self.window
        window.num_masked += batch.num_masked
        window.num_cells += batch.num_cells
        window.num_tokens += batch.num_tokens
        window.flops += BACKWARD_FACTOR * forward_flops(self.model.shape, batch.lengths, decode=True)

    def _record(self, norm: float) -> dict[str, float]:
        """Sum up what was done since the last record, over all processes; errors are in bins squared."""
        window, settings = self.window, self.settings
        unit = squared_unit(self.stream.num_bins) if self.model.shape.standard_scale_outputs else 1.0
        expression, product = (window.errors * unit).tolist()
        sums = self.group.sums(expression, product, window.num_masked, window.num_cells, window.num_tokens, window.flops)
        expression, product, num_masked, num_cells, num_tokens, flops = sums
        seconds = max(time.monotonic() - window.started, 1e-9)
        factor = rate_factor(max(self.step - 1, 0), settings.steps, self.num_warmup, settings.schedule)
        record = {
            "expression_mse": expression / max(num_masked, 1), "product_mse": product / max(num_masked, 1),
            "loss": (expression + product) / (2 * max(num_masked, 1)), "gradient_norm": norm, "learning_rate": settings.learning_rate * factor,
            "epoch": self.stream.order.epochs(self.step), "cells_per_s": num_cells / seconds, "tokens_per_s": num_tokens / seconds,
        }  # fmt: skip
        if self.peak is not None:
            record["flop_utilisation"] = flops / seconds / (self.peak * self.group.size)
        steps_done = (self.step - 1) % settings.log_every + 1
        record["seconds_left"] = (settings.steps - self.step) * seconds / steps_done
        self.window = _Window(self.group.device)
        return record
