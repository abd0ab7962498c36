"""Training examples in random order, straight from their sources, the same cells in a step whatever the number of processes.

All sources are cut into blocks of neighbouring cells. In each epoch the blocks are put in random order and dealt to a fixed number of lanes; a lane
reads a few of its blocks at a time and hands out their cells in random order. A step takes an equal part of its cells from each lane. So the cells of
a step come from blocks all over the atlas, sources appear in proportion to their cells, each cell is seen once in an epoch, and which cells a step
takes is a function of the seed and the step's number: resuming is starting at that step. A process reads only the lanes that its part of the step is
in.

Axes: B cells of a step (of one process), L positions, M micro-batches.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from causcade.errors import InputError
from causcade.tx1.batch import TokenBatch
from causcade.tx1.objective import Mode, mask_positions
from causcade.tx1.seeds import generator_for, hashed
from causcade.tx1.shape import CollatorSettings
from causcade.tx1.sources import Cells, Source, join_cells
from causcade.tx1.tokens import CLS_ID, collate

__all__ = ["Collation", "Micro", "Order", "StepBatch", "TrainingStream", "cut_batch", "empty_micro", "prefetched"]

LANES = 8
WINDOW_BLOCKS = 8
MAX_BLOCK_CELLS = 4096
BLOCKS_PER_WINDOW_SET = 2  # a small atlas is cut so that an epoch still has so many windows per lane

Ints = NDArray[np.int64]


class Micro(NamedTuple):
    """A micro-batch: tokens with their mask, targets [B, L], and how many positions are masked."""

    batch: TokenBatch
    target_BL: torch.Tensor
    num_masked: int


class StepBatch(NamedTuple):
    """What one process trains on in one step.

    Attributes
    ----------
    step
        Number of the step, from 0.
    micros
        Micro-batches; none where no cell of this process has a gene of the vocabulary.
    num_cells, num_tokens, num_masked
        Sums over the micro-batches; tokens are real positions.
    lengths
        Real positions of each cell.
    """

    step: int
    micros: list[Micro]
    num_cells: int
    num_tokens: int
    num_masked: int
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collation:
    """How cells become micro-batches.

    Attributes
    ----------
    settings
        Of the tokens; its `mlm_probability` is the share of genes to mask.
    mode
        `exact` or `compatible`, of tokens and masks.
    seed
        Of masks and of the sampling of genes.
    micro_cells, micro_tokens
        Most cells, and most positions with pads, of a micro-batch (at least one cell is in it); None: no limit.
    cls_id, drug_id
        Numbers of ``<cls>`` and ``<drug>``.
    """

    settings: CollatorSettings
    mode: Mode = "exact"
    seed: int = 0
    micro_cells: int | None = None
    micro_tokens: int | None = None
    cls_id: int = CLS_ID
    drug_id: int | None = None


def cut_batch(cells: Cells, key_B: np.ndarray, collation: Collation) -> list[Micro]:
    """Collate cells, mask them, and cut them into micro-batches.

    In exact mode cells are put in the order of their lengths first, so that few pads are computed; in compatible mode they stay as they are drawn.

    Parameters
    ----------
    cells
        The cells [B].
    key_B
        Identity of each cell and epoch, uint64: the mask and the sample of genes depend on it.
    collation
        How.
    """
    settings, num_tokens = collation.settings, np.arange(cells.counts.shape[1])
    found = collate(
        cells.counts, num_tokens, settings, mode=collation.mode, drug_B=cells.drug_B, keys_B=key_B, seed=collation.seed,
        cls_id=collation.cls_id, drug_id=collation.drug_id,
    )  # fmt: skip
    if not len(found.rows):
        return []
    is_masked_BL = mask_positions(found.batch, settings, keys_B=key_B[found.rows], seed=collation.seed, mode=collation.mode)
    length_B = np.array(found.batch.lengths, dtype=np.int64)
    order = np.argsort(length_B, kind="stable") if collation.mode == "exact" else np.arange(len(length_B))
    micros = []
    for part in _parts(order, length_B, collation):
        at = torch.from_numpy(part)
        longest = int(length_B[part].max())
        gene, value, real, masked, target = (
            tensor[at, :longest] for tensor in (found.batch.gene_BL, found.batch.value_BL, found.batch.is_real_BL, is_masked_BL, found.target_BL)
        )
        drug_B = None if found.batch.drug_B is None else found.batch.drug_B[at]
        batch = TokenBatch(gene, value.masked_fill(masked, settings.mask_value), real, masked, drug_B, tuple(length_B[part].tolist()))
        micros.append(Micro(batch, target, int(masked.sum())))
    return micros


def _parts(order: np.ndarray, length_B: np.ndarray, collation: Collation) -> Iterator[np.ndarray]:
    """Cut cells, in the given order, into micro-batches."""
    most_cells = collation.micro_cells or len(order)
    most_tokens = collation.micro_tokens or int(length_B.max()) * len(order)
    start = longest = 0
    for place, cell in enumerate(order):
        longest = max(longest, int(length_B[cell]))
        if place > start and (place - start >= most_cells or (place - start + 1) * longest > most_tokens):
            yield order[start:place]
            start, longest = place, int(length_B[cell])
    yield order[start:]


def empty_micro(*, has_drugs: bool) -> Micro:
    """Make a cell without genes: it takes part in what processes exchange in a pass, and has no error."""
    num = 2 if has_drugs else 1
    real_BL = torch.ones((1, num), dtype=torch.bool)
    drug_B = torch.zeros(1, dtype=torch.int64) if has_drugs else None
    batch = TokenBatch(torch.ones((1, num), dtype=torch.int64), torch.zeros((1, num)), real_BL, ~real_BL, drug_B, (num,))
    return Micro(batch, torch.zeros((1, num)), 0)


class Order:
    """Which cells a step takes: a function of the sources' sizes, the seed and the step.

    Parameters
    ----------
    sizes
        Cells of each source.
    seed
        Seed of the order.
    batch_cells
        Cells of a step, over all processes.
    lanes, window_blocks
        Most lanes, and blocks that a lane mixes at a time.
    block_cells
        Cells of a block; None: up to 4096, fewer where the sources are small.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        seed: int,
        batch_cells: int,
        lanes: int = LANES,
        window_blocks: int = WINDOW_BLOCKS,
        block_cells: int | None = None,
    ) -> None:
        total = sum(sizes)
        if total == 0:
            raise InputError("TX1: expected cells to train on, found none. Check the filters of `quality` and `pretraining: {cells, held_out}`.")
        self.total, self.seed, self.batch_cells, self.window_blocks = total, seed, batch_cells, window_blocks
        self.num_lanes = min(lanes, batch_cells, total)
        size = block_cells or min(MAX_BLOCK_CELLS, -(-total // (self.num_lanes * window_blocks * BLOCKS_PER_WINDOW_SET)))
        size = min(size, max(1, total // self.num_lanes))  # every lane gets a block in every epoch
        self._blocks: Ints = np.array(
            [(source, start, min(start + size, num)) for source, num in enumerate(sizes) for start in range(0, num, size)], dtype=np.int64
        )
        self._dealt: dict[int, list[Ints]] = {}

    def part_of(self, rank: int, num_processes: int) -> tuple[int, int]:
        """Places in a step that belong to a process."""
        return self.batch_cells * rank // num_processes, self.batch_cells * (rank + 1) // num_processes

    def lane_parts(self) -> list[int]:
        """Cells that a step takes from each lane."""
        return [self.batch_cells * (lane + 1) // self.num_lanes - self.batch_cells * lane // self.num_lanes for lane in range(self.num_lanes)]

    def blocks(self, epoch: int, lane: int) -> Ints:
        """Blocks of a lane in an epoch, in their order: source, first and last cell (exclusive), [blocks, 3]."""
        if epoch not in self._dealt:
            shuffled = self._blocks[generator_for("blocks", self.seed, epoch).permutation(len(self._blocks))]
            # another lane begins in each epoch, so that none always has the odd block
            dealt = [shuffled[(number + epoch) % self.num_lanes :: self.num_lanes] for number in range(self.num_lanes)]
            self._dealt = {key: value for key, value in self._dealt.items() if key >= epoch - 2} | {epoch: dealt}
        return self._dealt[epoch][lane]

    def window_order(self, epoch: int, lane: int, window: int, num_cells: int) -> Ints:
        """Order of the cells of a window."""
        return generator_for("cells", self.seed, epoch, lane, window).permutation(num_cells).astype(np.int64)

    def epochs(self, step: int) -> float:
        """Count the passes over all cells that are done before a step."""
        return step * self.batch_cells / self.total


class _Lane:
    """Cells of a lane by their place in its endless order; one window is in memory."""

    def __init__(self, order: Order, lane: int, sources: Sequence[Source]) -> None:
        self._order, self._lane, self._sources = order, lane, sources
        self._epoch, self._window = 0, -1
        self._start = self._stop = 0  # places of the window in the order of the lane
        self._cells: Cells | None = None

    def take(self, start: int, stop: int) -> list[tuple[Cells, int]]:
        """Cells at some places, each part with its epoch; places never go back."""
        parts: list[tuple[Cells, int]] = []
        while start < stop:
            while start >= self._stop:
                self._advance()
            if self._cells is None:
                self._cells = self._read()
            end = min(stop, self._stop)
            shuffled = self._order.window_order(self._epoch, self._lane, self._window, self._stop - self._start)
            rows = shuffled[start - self._start : end - self._start]
            drug_B = None if self._cells.drug_B is None else self._cells.drug_B[rows]
            parts.append((Cells(self._cells.counts[rows], self._cells.key_B[rows], drug_B), self._epoch))
            start = end
        return parts

    def _window_blocks(self) -> Ints:
        first = self._window * self._order.window_blocks
        return self._order.blocks(self._epoch, self._lane)[first : first + self._order.window_blocks]

    def _advance(self) -> None:
        """Go to the next window, without reading it."""
        self._window += 1
        blocks = self._window_blocks()
        if not len(blocks):
            self._epoch, self._window = self._epoch + 1, 0
            blocks = self._window_blocks()
        self._start, self._stop = self._stop, self._stop + int((blocks[:, 2] - blocks[:, 1]).sum())
        self._cells = None

    def _read(self) -> Cells:
        """Read the blocks of the window, from front to back of each source."""
        return join_cells([self._sources[source].read(int(start), int(stop)) for source, start, stop in sorted(map(tuple, self._window_blocks()))])


class TrainingStream:
    """Batches of one process, step by step.

    Parameters
    ----------
    sources
        Cells to train on; their names order them.
    collation
        How cells become micro-batches.
    batch_cells
        Cells of a step, over all processes.
    seed
        Seed of the order.
    rank, num_processes
        Which part of each step this process takes.
    block_cells
        See :class:`Order`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        collation: Collation,
        *,
        batch_cells: int,
        seed: int,
        rank: int = 0,
        num_processes: int = 1,
        block_cells: int | None = None,
    ) -> None:
        self._sources = sorted(sources, key=lambda source: source.name)
        self.order = Order([source.num_cells for source in self._sources], seed=seed, batch_cells=batch_cells, block_cells=block_cells)
        self._collation = collation
        self.num_bins = collation.settings.num_bins
        self._part = self.order.part_of(rank, num_processes)

    def steps(self, first: int, last: int) -> Iterator[StepBatch]:
        """Batches of the steps `first` to `last` (exclusive)."""
        for step, cells in enumerate(self.cells(first, last), start=first):
            micros = [] if cells is None else cut_batch(cells, cells.key_B, self._collation)
            lengths = tuple(length for micro in micros for length in micro.batch.lengths or ())
            yield StepBatch(step, micros, len(lengths), sum(lengths), sum(micro.num_masked for micro in micros), lengths)

    def cells(self, first: int, last: int) -> Iterator[Cells | None]:
        """Cells of this process in the steps `first` to `last` (exclusive), their keys mixed with the epoch; None where it has none in a step."""
        lanes = {lane: _Lane(self.order, lane, self._sources) for lane in range(self.order.num_lanes)}
        for step in range(first, last):
            parts = [part._replace(key_B=hashed(part.key_B, epoch)) for part, epoch in self._take(lanes, step)]
            yield join_cells(parts) if parts else None

    def _take(self, lanes: dict[int, _Lane], step: int) -> Iterator[tuple[Cells, int]]:
        """Cells of this process in a step, with their epochs."""
        first, last = self._part
        place = 0  # of the lane's first cell in the step
        for lane, num in enumerate(self.order.lane_parts()):
            start, stop = max(first - place, 0), min(last - place, num)
            if start < stop:
                yield from lanes[lane].take(step * num + start, step * num + stop)
            place += num


def prefetched(batches: Iterator[StepBatch], *, depth: int = 2) -> Iterator[StepBatch]:
    """Make batches in a thread beside the one that trains, at most `depth` ahead; an error there is raised here.

    The thread ends when the batches do, or when the iterator is closed.
    """
    waiting: queue.Queue[StepBatch | BaseException | None] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: StepBatch | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for batch in batches:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the reader
            put(error)

    thread = threading.Thread(target=work, name="training-stream", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
