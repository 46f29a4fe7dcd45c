"""Intervals, tests and effect sizes in one place; numpy and scipy only, no torch.

`intervals` speaks of one evaluation, `macro` of averages over tasks and seeds, `significance` of
tests, effect sizes and flips. Degenerate inputs (no examples, one seed, no variance) have defined
results: nothing here returns NaN.
"""

from __future__ import annotations

from dqf.evaluate.intervals import (
    bootstrap_interval,
    paired_bootstrap_difference,
    paired_bootstrap_ratio,
    paired_ratio_interval,
    resample_weights,
    wilson_interval,
)
from dqf.evaluate.macro import (
    Estimate,
    MacroResamples,
    TaskResamples,
    bootstrap_p_value,
    difference_of,
    estimate_of,
    far_p_value,
    macro_average,
    resample_task,
)
from dqf.evaluate.significance import (
    Flips,
    TTest,
    cohens_d,
    cohens_dz,
    cohens_g,
    count_flips,
    holm,
    mcnemar_exact,
    paired_t_test,
    welch_t_test,
)

__all__ = [
    "Estimate",
    "Flips",
    "MacroResamples",
    "TTest",
    "TaskResamples",
    "bootstrap_interval",
    "bootstrap_p_value",
    "cohens_d",
    "cohens_dz",
    "cohens_g",
    "count_flips",
    "difference_of",
    "estimate_of",
    "far_p_value",
    "holm",
    "macro_average",
    "mcnemar_exact",
    "paired_bootstrap_difference",
    "paired_bootstrap_ratio",
    "paired_ratio_interval",
    "paired_t_test",
    "resample_task",
    "resample_weights",
    "welch_t_test",
    "wilson_interval",
]
