"""What a launch will take: time, memory, disk, and the file size of every variant."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dqf.config import RunConfig
from dqf.errors import UserError
from dqf.estimate import Estimate, estimate
from dqf.estimate_history import Correction, current_correction
from dqf.exporting.outline import MIXED, Outlook, outlook
from dqf.room import memory_limit
from dqf.settings import Settings
from dqf.ui import components, frames
from dqf.ui import format as fmt
from dqf.ui.theme import variant_title


@st.cache_data(max_entries=64, show_spinner=False, ttl=60)
def cached_estimate(digest: str, _config: RunConfig, _settings: Settings) -> Estimate:
    """Return the estimate of a config, uncorrected; for a minute it is not made again."""
    return estimate(_config, _settings)


def show(config: RunConfig, settings: Settings) -> None:
    """Render the estimate of a valid config."""
    try:
        correction = current_correction(settings)
        found = correction.apply(cached_estimate(config.digest(), config, settings))
    except UserError as error:
        components.notice("info", "No estimate yet.", str(error))
        return
    cores = f"{settings.threads} thread" + ("s" if settings.threads != 1 else "")
    components.metric_row(
        (
            components.Figure("Time", f"about {fmt.about(found.seconds)}", note=f"on {cores}, nothing cached"),
            components.Figure(
                "Memory", fmt.size(found.memory_bytes), note=f"peak of the worker; {fmt.size(memory_limit())} here"
            ),
            components.Figure("Disk", fmt.size(found.disk_bytes), note="stage cache and run folder"),
        )
    )
    st.caption(_reliability(correction))
    if found.variants:
        _variants(found, config.quantization.quantizer)
    for note in found.notes:
        st.text(note)
    if found.student is not None:
        _exports(outlook(config, found.student))


def _exports(rows: Sequence[Outlook]) -> None:
    """Say which forms the students will be able to take, and what stands in the way of the others."""
    bits = list(dict.fromkeys(row.bits for row in rows))
    table = pd.DataFrame({"Form": list(dict.fromkeys(row.form for row in rows))})
    for width in bits:
        table["mixed" if width == MIXED else fmt.bits(width)] = [
            "–" if row.refused else "yes" for row in rows if row.bits == width
        ]
    last = {row.form: row.refused for row in rows if row.refused and row.bits != 16}
    table["Why not"] = [last.get(form, "") for form in table["Form"]]
    with st.expander("What the students can be exported as"):
        st.dataframe(table, hide_index=True, alt="Which export forms the students of each bit-width can take")
        st.caption(
            "Each export is offered only once its own consumer has loaded it and agreed."
            + (" Mixed is for layers of 8, 4, 3 and 2 bits; which get which is measured in the run." * (MIXED in bits))
        )


def _reliability(correction: Correction) -> str:
    """Say where an estimate comes from and how far earlier ones were off."""
    if not correction.runs:
        return "From the models' shapes alone: no run on this machine has been held against its estimate yet."
    runs = f"{correction.runs} past run{'s' * (correction.runs > 1)} on this machine"
    if correction.error_before is None or correction.error_after is None:
        return f"From the models' shapes, corrected by {runs}."
    return (
        f"From the models' shapes, corrected by {runs}. Their times were off by a factor of "
        f"{correction.error_before:.1f} before the correction and {correction.error_after:.1f} after it (medians, each "
        "run corrected by the others alone)."
    )


def _variants(found: Estimate, quantizer: str) -> None:
    table = pd.DataFrame(
        {
            "Variant": [
                frames.name_of(
                    variant_title(one.variant), one.bits, frames.NOT_QUANTIZED if one.bits == 16 else quantizer.upper()
                )
                for one in found.variants
            ],
            "Weights": [fmt.bits(one.bits) for one in found.variants],
            "Params (M)": [one.params / 1e6 for one in found.variants],
            "File (MB)": [one.size_bytes / 1e6 for one in found.variants],
            "× smaller": [one.compression_ratio for one in found.variants],
        }
    )
    number = st.column_config.NumberColumn
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "Variant": st.column_config.TextColumn(pinned=True),
            "Params (M)": number(format="%.1f"),
            "File (MB)": number(format="%.1f", help="By arithmetic; 1 MB is 1 000 000 bytes."),
            "× smaller": number(format="%.1f×", help="Against the teacher's FP16 file."),
        },
        alt="Estimated parameters, file size and compression of each variant",
    )
