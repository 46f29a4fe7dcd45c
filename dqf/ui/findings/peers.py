"""Our quantizers and runtimes beside other tools: the committed figures of `benchmarks/`, ours divided by theirs."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dqf.ui.axes import numbers
from dqf.ui.charts import CONFIG, LEGEND, MARGIN
from dqf.ui.theme import NEUTRAL_COLOR, SERIES_COLORS

FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "quantization.json"
KINDS = {
    "kl": "KL divergence",
    "time": "Time to quantize",
    "peak_memory": "Peak memory",
    "latency": "Latency",
    "prefill": "Prefill",
    "decode": "Decode",
}
"""By how a figure's name begins: what it is of."""
WORDS = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "minilm-l6": "MiniLM-L6",
    "smollm2-135m": "SmolLM2",
    "llama-135m": "Llama 135 M",
    "llama-1b": "Llama 1 B",
    "llama-3b": "Llama 3 B",
    "g64": "",
    "random": "",
}
GAP = "\u200b"
PEERS = {"autoawq": "autoawq", "gptqmodel": "gptqmodel", "16-bit": "BF16 file", "8-bit": "8-bit file", "1.5": "bound"}
"""By how a peer's name begins, for the chart; the table has it whole."""
LEAD = (
    "Ours divided by theirs, each pair measured in one run on one machine: left of the line ours is faster, smaller or "
    "more exact. Quality is held-out text on SmolLM2-135M, against the model in full precision."
)


def show() -> None:
    """Render the figures as a chart with the rows behind it; nothing where the project's benchmarks are not at hand."""
    rows = load(FILE)
    if rows.empty:
        return
    st.subheader("Beside other tools", anchor=False)
    st.caption(LEAD)
    st.plotly_chart(
        figure(rows),
        config={**CONFIG, "displayModeBar": False},
        key="findings_peers",
        alt="; ".join(f"{row['What']}: {row['Ratio']:.2f} times {row['Beside']}" for row in rows.to_dict("records")),
    )
    from dqf.ui.findings.view import rows_behind

    rows_behind(rows, "other-tools", "Figures, machines and the commands that make them again")


def load(path: Path) -> pd.DataFrame:
    """Return the figures that have a peer other than ourselves, empty where the file cannot be read.

    Columns: Kind, What, Beside (the peer), Ours, Theirs, Unit, Ratio, Standard error (of the ratio, NaN if measured
    once), n, Machine, Command.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return pd.DataFrame()
    rows = []
    for one in found:
        kind = next((kind for kind in KINDS if one["name"].startswith(f"{kind}_")), None)
        if kind is None or str(one["peer_name"]).startswith("ours"):
            continue
        rows.append(
            {
                "Kind": KINDS[kind],
                "What": what(one["name"].removeprefix(f"{kind}_")),
                "Beside": one["peer_name"],
                "Ours": one["ours"],
                "Theirs": one["peer"],
                "Unit": one["unit"],
                "Ratio": one["ratio"],
                "Standard error": one["spread"],
                "n": one["n"],
                "Machine": one["machine"],
                "Command": one["command"],
            }
        )
    kinds = list(KINDS.values())
    frame = pd.DataFrame(rows)
    return frame if frame.empty else frame.sort_values("Kind", key=lambda some: some.map(kinds.index), kind="stable")


def what(name: str) -> str:
    """Return what was measured as people read it: `gptq_4bit_g64` is `GPTQ 4-bit`."""
    words = [WORDS.get(word, re.sub(r"(\d+)(bit|tokens)", r"\1-\2", word)) for word in name.split("_vs_")[0].split("_")]
    return " ".join(word for word in words if word).replace("-tokens", " tokens")


def _peer(name: str) -> str:
    return next((short for start, short in PEERS.items() if name.startswith(start)), name.split(";")[0])


def figure(rows: pd.DataFrame) -> go.Figure:
    """Return a dot for each figure on a logarithmic axis, with a line where ours and theirs are the same.

    Args:
        rows: of `load`.
    """
    chart = go.Figure()
    labels = [
        # Some are alike but for their kind, and plotly would put them on one line: spaces nobody sees tell them apart.
        html.escape(f"{one['What']} / {_peer(one['Beside'])}") + GAP * at
        for at, one in enumerate(rows.to_dict("records"))
    ]
    rows = rows.assign(label=labels)
    for color, (kind, some) in zip(SERIES_COLORS, rows.groupby("Kind", sort=False), strict=False):
        chart.add_scatter(
            x=some["Ratio"],
            y=some["label"],
            mode="markers",
            name=str(kind),
            marker={"size": 11, "color": color},
            error_x={"type": "data", "array": numbers(some, "Standard error"), "thickness": 1.5, "width": 4},
            customdata=some[["Ours", "Theirs", "Unit"]],
            hovertemplate="%{x:.2f}: ours %{customdata[0]:.4g}, theirs %{customdata[1]:.4g} %{customdata[2]}"
            "<extra></extra>",
        )
    chart.add_vline(x=1, line={"color": NEUTRAL_COLOR, "dash": "dot", "width": 1.5})
    chart.update_layout(height=110 + 26 * len(rows), margin=MARGIN, legend=LEGEND)
    ticks: list[Any] = [0.05, 0.1, 0.2, 0.5, 1, 2, 5]
    chart.update_xaxes(type="log", title="Ours ÷ theirs", tickvals=ticks, ticktext=[f"{tick:g}×" for tick in ticks])
    chart.update_yaxes(autorange="reversed", automargin=True, showgrid=True)
    return chart
