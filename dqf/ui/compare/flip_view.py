"""Read the examples that two variants answer differently: on Compare, and on Findings for studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dqf.errors import UserError
from dqf.ui import components, scored
from dqf.ui import format as fmt
from dqf.ui.compare import comparisons, flips
from dqf.ui.compare.comparisons import Scored
from dqf.ui.compare.differences import short_names
from dqf.ui.studio import Studio

ALL = "All changes"
HELP = {
    flips.LOST: "The first variant was right, the second is wrong.",
    flips.WON: "The first variant was wrong, the second is right.",
    flips.STILL_WRONG: "Both are wrong, with different answers.",
    flips.FURTHER: "The second prediction is further from the label.",
    flips.CLOSER: "The second prediction is closer to the label.",
}


@dataclass(frozen=True)
class Source:
    """What the explorer needs to know besides predictions.

    Attributes:
        labels: name of each variant by key.
        classes: from a key to the names of its task's classes, empty for numbers.
        texts: from a key to the texts it was scored on; raises UserError where they are not to be had.
    """

    labels: Mapping[str, str]
    classes: Callable[[str], Sequence[str]]
    texts: Callable[[str], pd.DataFrame]


@st.fragment
def show(studio: Studio, rows: pd.DataFrame) -> None:
    """Render the flip explorer over the chosen variants; nothing if no two can be compared."""
    found, _ = scored.load(studio, rows)
    groups = [group for group in comparisons.groups(found) if len(group) > 1]
    if not groups:
        return
    st.subheader("What changed: read the examples", anchor=False)
    source = Source(
        short_names(rows),
        lambda key: [str(name) for name in scored.task_facts(studio, key.partition("/")[0]).get("labels") or ()],
        lambda key: scored.texts(studio, key.partition("/")[0]),
    )
    explore(groups, source)


def explore(groups: list[list[Scored]], source: Source) -> None:
    """Render counts, filter and examples of two variants that people pick.

    Args:
        groups: variants by the examples they were scored on, at least two in each.
        source: names and texts.
    """
    first, second = _pick(groups, source.labels)
    names = list(source.classes(first.key)) if flips.is_classification(first) else []
    frame = flips.changed(first, second)
    _counts(first, frame)
    if frame.empty:
        components.empty_state(":material/check_circle:", "The two give the same answer to every example.")
        return
    texts = None
    try:
        texts = source.texts(first.key)
        if len(texts) <= int(frame["idx"].max()):
            raise UserError(f"every prediction needs a text: the data holds {len(texts)} examples, fewer than the run.")
    except UserError as error:
        texts = None
        components.notice(
            "info", "The texts cannot be shown on this machine; answers and confidences are below.", str(error)
        )
    kind = _filter(first, frame)
    kept = frame if kind == ALL else frame[frame["kind"] == kind]
    if kept.empty:
        st.caption("No example changed in this way.")
        return
    _examples(flips.with_texts(kept.reset_index(drop=True), texts), names, source.labels, first, second)


def _pick(groups: list[list[Scored]], labels: Mapping[str, str]) -> tuple[Scored, Scored]:
    known = {one.key: (one, group) for group in groups for one in group}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first_key = st.selectbox(
            "From", list(known), format_func=lambda key: labels.get(key, key), key="flip_from", width=420
        )
        first, group = known[first_key]
        others = {one.key: one for one in group if one is not first}
        second_key = st.selectbox(
            "To",
            list(others),
            len(others) - 1,
            format_func=lambda key: labels.get(key, key),
            key=f"flip_to_{first_key}",
            width=420,
        )
    return first, others[second_key]


def _counts(first: Scored, frame: pd.DataFrame) -> None:
    n = len(first.labels)
    kinds = flips.KINDS_OF_CLASSES if flips.is_classification(first) else flips.KINDS_OF_NUMBERS
    counted = {kind: int((frame["kind"] == kind).sum()) for kind in kinds}
    figures = [
        components.Figure(kind, fmt.count(count), note=f"{fmt.percent(count / n)} of n {fmt.count(n)}", help=HELP[kind])
        for kind, count in counted.items()
    ]
    if flips.is_classification(first):
        net = counted[flips.WON] - counted[flips.LOST]
        text = f"{net:+d}".replace("-", "\u2212") if net else "0"
        figures.append(
            components.Figure(
                "Net", text, note=f"{fmt.points(net / n)} of accuracy", help="Examples won less examples lost."
            )
        )
    else:
        figures.append(components.Figure("Unchanged", fmt.count(n - len(frame)), note=f"of n {fmt.count(n)}"))
    components.metric_row(figures)


def _filter(first: Scored, frame: pd.DataFrame) -> str:
    kinds = flips.KINDS_OF_CLASSES if flips.is_classification(first) else flips.KINDS_OF_NUMBERS
    counts = {ALL: len(frame), **{kind: int((frame["kind"] == kind).sum()) for kind in kinds}}
    chosen = st.segmented_control(
        "Show",
        list(counts),
        default=ALL,
        required=True,
        format_func=lambda kind: f"{kind} ({counts[kind]})",
        key="flip_kind" if flips.is_classification(first) else "flip_kind_numbers",
    )
    return chosen or ALL


def _examples(
    frame: pd.DataFrame, names: Sequence[str], labels: Mapping[str, str], first: Scored, second: Scored
) -> None:
    table = readable(frame, names)
    state = st.dataframe(
        table,
        hide_index=True,
        height=components.table_height(len(table), most=11),
        on_select="rerun",
        selection_mode="single-row",
        key=f"flips_{first.key}_{second.key}_{len(table)}",
        column_config={
            "Text": st.column_config.TextColumn(width=460),
            "Second text": st.column_config.TextColumn(width=300),
            "Confidence, from": st.column_config.NumberColumn(format="percent"),
            "Confidence, to": st.column_config.NumberColumn(format="percent"),
        },
        alt="Examples whose prediction differs, with label, both predictions and both confidences",
    )
    chosen = list(getattr(getattr(state, "selection", None), "rows", ())) or [0]
    _reading(table.iloc[min(chosen[0], len(table) - 1)], labels[first.key], labels[second.key])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download CSV",
            lambda: table.to_csv(index=False).encode(),
            file_name="dqf-flips.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="flip_csv",
        )
        st.caption("Confidence: softmax probability of the answer. Firmly held, contradicting answers come first.")


def readable(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the changed examples as people read them."""
    table = pd.DataFrame({"Example": frame["idx"]})
    if "text" in frame:
        table["Text"] = frame["text"]
        if frame["pair"].astype(bool).any():
            table["Second text"] = frame["pair"]
    table["True label"] = flips.named(frame["label"], names)
    table["From"] = flips.named(frame["first"], names)
    table["To"] = flips.named(frame["second"], names)
    if frame["first_confidence"].notna().any():
        table["Confidence, from"] = frame["first_confidence"]
        table["Confidence, to"] = frame["second_confidence"]
    table["Change"] = frame["kind"]
    return table


def _reading(row: pd.Series, first: str, second: str) -> None:
    """Render one example in full; its words came from outside and are shown as plain text."""
    with st.container(border=True, gap="small"):
        st.caption(f"Example {row['Example']} · {row['Change']} · select a row above to read another")
        for column in ("Text", "Second text"):
            if column in row.index:
                st.text(row[column])
        lines = [f"True label: {row['True label']}"]
        for name, answer, confidence in ((first, "From", "Confidence, from"), (second, "To", "Confidence, to")):
            sure = f", {fmt.percent(row[confidence])} confident" if confidence in row.index else ""
            lines.append(f"{name}: {row[answer]}{sure}")
        st.text("\n".join(lines))
