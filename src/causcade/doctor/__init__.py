"""`causcade doctor`: what this machine has, and what a configuration will need on it or on a cluster.

Sizes are counted from the headers of the plates themselves (:mod:`causcade.doctor.shapes`), memory and disk follow from array shapes, times from
rates that were measured (:mod:`causcade.doctor.rates`) and from what a run of this machine took. Where nobody measured, no time is told.
"""

from __future__ import annotations

from causcade.doctor.examination import examine
from causcade.doctor.shapes import PlateShape, plate_shape, plate_shapes

__all__ = ["PlateShape", "examine", "plate_shape", "plate_shapes"]
