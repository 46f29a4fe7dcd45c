"""One text for all variants: typed, or drawn from the examples that the run was evaluated on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dqf.errors import UserError
from dqf.store import queries
from dqf.ui import components, scored
from dqf.ui.playground import answers as playground
from dqf.ui.playground import view
from dqf.ui.playground.view import Bench

TYPE, DRAW = "Type a text", "Draw an example"
RANDOM = random.SystemRandom()


@dataclass(frozen=True)
class Given:
    """The text to ask.

    Attributes:
        text, pair: the texts; pair is empty for tasks with one.
        example: which evaluated example it is, -1 for a typed text.
        truth: its label, empty if not known.
    """

    text: str
    pair: str
    example: int = -1
    truth: str = ""


def show(bench: Bench) -> None:
    """Render the text, the button that asks, and the answers."""
    how = st.segmented_control(
        "Text", (TYPE, DRAW), default=TYPE, required=True, key="from", bind="query-params", label_visibility="collapsed"
    )
    given = _drawn(bench) if how == DRAW else _typed(bench)
    count = len(bench.models)
    ready = bool(count and given is not None and given.text.strip() and (given.pair.strip() or not bench.pairs))
    label = {0: "Ask the variants", 1: "Ask 1 variant"}.get(count, f"Ask {count} variants")
    pressed = st.button(label, type="primary", icon=":material/send:", disabled=not ready, key="playground_ask")
    if given is None:
        return
    asked = (bench.run_id, tuple(bench.models), given.text, given.pair)
    if pressed:
        said, problems = view.ask(bench, [given.text], [given.pair] if bench.pairs else None, view.REPEATS)
        st.session_state[view.ANSWERS] = (asked, said, problems)
    kept, said, problems = st.session_state.get(view.ANSWERS, (None, [], []))
    if kept == asked:
        if problems:
            components.notice("warning", "Some variants did not answer.", "\n".join(problems))
        if said:
            view.answers(bench, said, given.truth, _source(bench, said))
            return
    if given.example >= 0:
        before = view.stored(bench, given.example)
        if before:
            view.answers(bench, before, given.truth, "Stored when the run was measured; nothing was computed now.")


def _source(bench: Bench, said: Sequence[playground.Said]) -> str:
    first = next(one.answer for one in said if one.answer is not None)
    length = first.tokens[0]
    cut = f", where longer texts are cut at {first.max_length}" if length >= first.max_length else ""
    loaded = [one for one in said if one.answer is not None and one.answer.load_s]
    runs = bench.studio.runs()
    busy = bool(runs["state"].isin(("running", "cancelling")).any())
    return (
        f"Asked just now on this machine, {bench.studio.settings.threads} threads, {length} tokens{cut} (teacher and "
        "student may count differently)."
        + (f" {len(loaded)} had just been loaded (not counted), so their first pass is slow." if loaded else "")
        + (" A run works beside it, so these times are longer than the recorded ones." if busy else "")
    )


def _typed(bench: Bench) -> Given:
    if not bench.pairs:
        text = st.text_area("Text to classify", key="text", bind="query-params", max_chars=view.LONGEST_TEXT, height=90)
        return Given(text or "", "")
    left, right = st.columns(2, gap="medium")
    text = left.text_area("First text", key="text", bind="query-params", max_chars=view.LONGEST_TEXT, height=90)
    pair = right.text_area("Second text", key="second", bind="query-params", max_chars=view.LONGEST_TEXT, height=90)
    return Given(text or "", pair or "")


def _drawn(bench: Bench) -> Given | None:
    """Render the choice of an example with its text; None if the run kept no predictions."""
    if bench.rows.empty:
        return None
    variant_id = str(bench.rows["variant_id"].iloc[0])
    try:
        truth = queries.predictions(bench.studio.store, bench.run_id, variant_id)["label"]
    except (UserError, OSError) as error:
        components.notice("info", "The run's examples are not here.", str(error))
        return None
    differ = _differing(bench)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        example = int(
            st.number_input(
                f"Example (0 to {len(truth) - 1})",
                min_value=0,
                max_value=len(truth) - 1,
                key="example",
                bind="query-params",
                width=180,
            )
        )
        st.button("Any", icon=":material/casino:", on_click=_draw, args=(range(len(truth)),), key="playground_any")
        st.button(
            f"One they differ on ({len(differ)})",
            icon=":material/call_split:",
            on_click=_draw,
            args=(differ,),
            disabled=not differ,
            key="playground_differ",
            help="Examples to which the chosen variants gave different answers when the run was measured.",
        )
    label = _label(bench, truth.iloc[example])
    try:
        texts = scored.texts(bench.studio, bench.run_id)
        row = texts.iloc[example]
    except (UserError, IndexError) as error:
        components.notice("info", "The text cannot be shown on this machine; answers are below.", str(error))
        return Given("", "", example, label)
    with st.container(border=True, gap="small"):
        for text in (row["text"], row["pair"]):
            if text:
                st.text(str(text))
    return Given(str(row["text"]), str(row["pair"]), example, label)


def _differing(bench: Bench) -> list[int]:
    found = [view.stored_logits(bench.studio, bench.run_id, str(one)) for one in bench.rows["variant_id"]]
    predictions = [one.argmax(axis=1) for one in found if one is not None and one.shape[1] > 1]
    lengths = {len(one) for one in predictions}
    return playground.disagreeing(predictions) if len(lengths) == 1 else []


def _label(bench: Bench, value: float) -> str:
    return playground.name_of(value, bench.names, number=not bench.names)


def _draw(among: Sequence[int]) -> None:
    st.session_state["example"] = int(RANDOM.choice(among))
