"""From values to places, and round numbers for the axes, for charts that are drawn without plotly."""

from __future__ import annotations

import numpy as np

from dqf.ui.axes import Floats


class Scale:
    """From values to places, with some room at both ends.

    Args:
        values: float (n,), all finite, at least one.
        start: place of the low end.
        length: from the low end to the high one; negative where places run the other way.
        room: at each end, as a share of what the values span.
    """

    def __init__(self, values: Floats, start: float, length: float, room: float) -> None:
        low, high = float(values.min()), float(values.max())
        space = room * (high - low) or 0.5
        self.low, self.high = low - space, high + space
        self._start, self._length = start, length

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        return self._start + self._length * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return about five round numbers of a linear scale."""
        rough = (self.high - self.low) / 5
        power = 10 ** np.floor(np.log10(rough))
        step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
        return [float(f"{value:.6g}") for value in np.arange(np.ceil(self.low / step) * step, self.high, step)]

    def decades(self) -> list[float]:
        """Return the values at 1, 2 and 5 of each decade, of a scale of base-10 logarithms."""
        powers = range(int(np.floor(self.low)), int(np.ceil(self.high)) + 1)
        steps = (1, 2, 5) if self.high - self.low < 2.5 else (1,)
        values = [step * 10.0**power for power in powers for step in steps]
        return [value for value in values if self.low <= np.log10(value) <= self.high]
