"""The parts of the Playground: choose a run and variants, ask them one text, read what they say."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.serving.manager import ServingManager
from dqf.serving.models import Model, find_model
from dqf.serving.shared import ensure_serving
from dqf.store import queries
from dqf.ui import addressed, components, scored
from dqf.ui import format as fmt
from dqf.ui.charts import CONFIG
from dqf.ui.playground import answers as playground
from dqf.ui.playground import chart as playground_chart
from dqf.ui.playground.answers import Said
from dqf.ui.shell import navigation
from dqf.ui.studio import Studio

RUN, VARIANT = "run", "variant"
"""Parameters of the address."""
LOOKED_AT = 30
FIRST_CHOSEN = 6
REPEATS = 5
LONGEST_TEXT = 5000
ANSWERS = "playground_answers"


@dataclass(frozen=True)
class Bench:
    """What the page works with: the chosen variants of a run, and which of them can be asked.

    Attributes:
        studio: settings and store.
        run_id: the run.
        rows: of the chosen variants.
        names: of the task's classes, empty for numbers.
        pairs: whether an example has two texts.
        models: what can be served, by variant_id.
        problems: one sentence for each variant that cannot.
    """

    studio: Studio
    run_id: str
    rows: pd.DataFrame
    names: Sequence[str]
    pairs: bool
    models: dict[str, Model]
    problems: list[str]

    @property
    def manager(self) -> ServingManager:
        """The app's one serving manager."""
        return ensure_serving(self.studio.settings)

    @property
    def askable(self) -> pd.DataFrame:
        """Rows of the variants that can be served."""
        return self.rows[self.rows["variant_id"].isin(self.models)]

    def recorded(self) -> dict[str, dict[str, Any]]:
        """Return what was recorded of each chosen variant, by variant_id."""
        return {str(row["variant_id"]): {str(k): v for k, v in row.items()} for row in self.rows.to_dict("records")}


def choose_run(studio: Studio, variants: pd.DataFrame) -> str:
    """Return the chosen run: from the address, or the newest whose artifacts are here; the address names it."""
    options = list(dict.fromkeys(variants["run_id"]))
    tasks = dict(zip(variants["run_id"], variants["task"], strict=True))
    return addressed.select(
        "Run",
        options,
        lambda: _first_run(studio, options),
        parameter=RUN,
        key="playground_run",
        gone=addressed.NO_RESULTS,
        format_func=lambda run: f"{run} · {tasks[run]}",
        width=420,
    )


def _first_run(studio: Studio, options: Sequence[str]) -> str:
    for run_id in options[:LOOKED_AT]:
        run_dir = studio.run_dir(run_id)
        if run_dir is not None and any((run_dir / "artifacts").glob("*/dqf.json")):
            return run_id
    return options[0]


def choose_variants(studio: Studio, run_id: str, variants: pd.DataFrame) -> Bench:
    """Render the choice of variants and return what can be asked; the address holds the choice."""
    rows = variants[variants["run_id"] == run_id]
    names = dict(zip(rows["variant_id"], rows["name"], strict=True))
    key = f"playground_variants_{run_id}"
    if key not in st.session_state:
        asked = [one for one in st.query_params.get_all(VARIANT) if one in names]
        st.session_state[key] = asked or list(names)[:FIRST_CHOSEN]
    chosen = st.multiselect(
        "Variants", list(names), format_func=lambda one: names.get(one, one), key=key, placeholder="Choose variants"
    )
    if st.query_params.get_all(VARIANT) != chosen:
        st.query_params[VARIANT] = chosen
    facts = scored.task_facts(studio, run_id)
    run_dir = studio.run_dir(run_id)
    config = protocol.read_json(run_dir / "config.json") if run_dir is not None else None
    models: dict[str, Model] = {}
    problems = []
    for variant_id in chosen:
        try:
            if run_dir is None:
                raise UserError(f"a run must have its folder here to be asked: {run_id} has none.")
            models[variant_id] = find_model(run_dir, variant_id)
        except (UserError, OSError, KeyError) as error:
            problems.append(f"{names[variant_id]}: {error}")
    return Bench(
        studio,
        run_id,
        rows.set_index("variant_id", drop=False).loc[chosen],
        [str(name) for name in facts.get("labels") or ()],
        playground.takes_pairs(config if isinstance(config, dict) else {}),
        models,
        problems,
    )


def say_what_is_missing(bench: Bench) -> None:
    """Say which variants cannot be asked, and how to get them."""
    if not bench.problems:
        return
    run_dir = bench.studio.run_dir(bench.run_id)
    if bench.models or run_dir is None or (run_dir / "artifacts").is_dir():
        components.notice("warning", "Some variants cannot be asked.", "\n".join(bench.problems))
        return
    with st.container(border=True, gap="small"):
        st.info(
            "This run is here without its weights, so only its stored predictions can be read: run it again to ask "
            "its models anything.",
            icon=":material/info:",
        )
        config = run_dir / "config.json"
        st.code(f"python -m dqf run --config {shlex.quote(fmt.short_path(config))}", language=None)
        navigation.RUNS.link("Open the run, to run it again", query={"run": bench.run_id})


def ask(bench: Bench, texts: Sequence[str], pairs: Sequence[str] | None, repeats: int) -> tuple[list[Said], list[str]]:
    """Ask every variant that can be asked, one after the other; return answers and a sentence for each failure."""
    said, problems = [], []
    waiting = st.progress(0.0)
    rows = bench.askable.to_dict("records")
    for at, row in enumerate(rows):
        waiting.progress(at / len(rows), text=f"Asking {row['name']}")
        try:
            answer = bench.manager.predict(bench.models[row["variant_id"]], texts, pairs, repeats)
        except UserError as error:
            problems.append(f"{row['name']}: {error}")
            continue
        said.append(Said(str(row["variant_id"]), str(row["name"]), str(row["variant"]), answer.logits, answer))
    waiting.empty()
    return said, problems


def stored(bench: Bench, example: int) -> list[Said]:
    """Return the predictions of an example that were kept when the run was measured."""
    said = []
    for row in bench.rows.to_dict("records"):
        logits = stored_logits(bench.studio, bench.run_id, str(row["variant_id"]))
        if logits is not None and example < len(logits):
            part = logits[example : example + 1]
            said.append(Said(str(row["variant_id"]), str(row["name"]), str(row["variant"]), part))
    return said


def stored_logits(studio: Studio, run_id: str, variant_id: str) -> Any:
    """Return all logits of a variant by example, None if they are not here."""
    try:
        return _stored_logits(str(studio.store.path), studio.store.revision, studio, run_id, variant_id)
    except (UserError, OSError, ValueError):
        return None


@st.cache_data(max_entries=60, show_spinner=False)
def _stored_logits(path: str, revision: int, _studio: Studio, run_id: str, variant_id: str) -> Any:
    frame = queries.predictions(_studio.store, run_id, variant_id)
    return np.stack([np.asarray(row, np.float32) for row in frame["logits"]])


def answers(bench: Bench, said: Sequence[Said], truth: str, source: str) -> None:
    """Render what the variants say to one text.

    Args:
        bench: names and recorded figures.
        said: the answers.
        truth: the true label, empty if it is not known.
        source: where the answers come from, our own words.
    """
    with st.container(border=True, gap="small"):
        st.text(playground.sentence(said, bench.names) + (f" The label is {truth}." if truth else ""))
        number = said[0].is_number
        figure = playground_chart.numbers(said) if number else playground_chart.confidence_bars(said, bench.names)
        st.plotly_chart(
            figure,
            config=CONFIG,
            key=f"playground_chart_{source}",
            alt="Answers of each variant; the table below holds them in words",
        )
    frame = playground.table(said, bench.names, bench.recorded())
    st.dataframe(
        frame, hide_index=True, column_config=_columns(), alt="Answer, confidence, time and memory of each variant"
    )
    st.caption(source)


def _columns() -> dict[str, Any]:
    number = st.column_config.NumberColumn
    return {
        "Variant": st.column_config.TextColumn(pinned=True, width=190),
        "Confidence (%)": st.column_config.ProgressColumn(format="%.1f", min_value=0, max_value=100),
        "As the teacher": st.column_config.TextColumn(help="Whether it gives the teacher's answer to this text."),
        "Off the teacher": number(format="%.2f"),
        "This call (ms)": number(format="%.2f", help="Tokenizing and the first pass, as it came, without warm-up."),
        "Repeated (ms)": number(format="%.2f", help=f"Median of {REPEATS} more passes over the same text."),
        "Recorded p50 (ms)": number(format="%.2f", help="Median when the run was measured, after warm-up."),
        "Memory now (MB)": number(format="%.0f", help="Resident memory of the process that serves it."),
        "Recorded memory (MB)": number(format="%.0f", help="Peak resident memory when it was evaluated."),
    }


def memory(bench: Bench) -> None:
    """Say which models are in memory, and offer to end them."""
    loaded = bench.manager.loaded()
    if not loaded:
        return
    used, budget = sum(loaded.values()), bench.manager.budget_bytes
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"{fmt.plural(len(loaded), 'model')} in memory, {fmt.size(used)} of "
            f"{fmt.size(budget)} for all sessions; what nobody asks for five minutes is closed.",
            width="content",
        )
        if st.button("Free memory", icon=":material/memory:", type="tertiary", key="playground_free"):
            bench.manager.free()
            st.rerun()
