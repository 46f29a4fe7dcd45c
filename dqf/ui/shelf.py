"""The parts of the Shelf: a run's artifacts and exports, disk use, clean-up. Names and cards are shown as text."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import streamlit as st

from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.settings import Settings
from dqf.shelf import clean, items
from dqf.shelf.items import Item
from dqf.shelf.usage import RunUsage, run_usage
from dqf.ui import addressed, components
from dqf.ui import format as fmt
from dqf.ui.shell import downloads, navigation
from dqf.ui.studio import Studio

ASKED = "shelf_asked"
"""Which item is to be confirmed for removal."""
MEASURE_S = 60
MOST_CARD = 60_000
STATUS = {
    clean.NEEDED: "Recorded runs were made from it",
    clean.RESUMABLE: "Unfinished runs could go on from it",
    clean.FREE: "Nothing needs it",
}


def runs_with_items(studio: Studio) -> list[Path]:
    """Return the runs that have artifacts, newest first."""
    return [Path(name) for name in _runs_with_items(str(studio.settings.results_dir), studio.store.revision)]


@st.cache_data(ttl=MEASURE_S, max_entries=4, show_spinner=False)
def _runs_with_items(results_dir: str, revision: int) -> list[str]:
    roots = (Path(results_dir) / "runs", Path(results_dir) / "reference")
    found = [run for root in roots for run in protocol.list_runs(root) if items.has_items(run)]
    return [str(run) for run in sorted(found, key=lambda run: run.name, reverse=True)]


def choose(studio: Studio, runs: list[Path]) -> Path:
    """Return the run whose shelf is shown; the address names it."""
    names = {run.name: run for run in runs}
    options = list(names)
    gone = "The address names a run without artifacts; showing another one."
    chosen = addressed.select(
        "Run", options, lambda: options[0], parameter="run", key="shelf_run", gone=gone, width=420
    )
    return names[chosen]


def of_run(studio: Studio, run_dir: Path) -> None:
    """Render a run's artifacts and exports."""
    found = items.items_of(run_dir)
    variants = studio.variants()
    own = variants[variants["run_id"] == run_dir.name]
    names = dict(zip(own["variant_id"], own["name"], strict=True))
    if not found:
        components.empty_state(":material/shelves:", "This run has no readable artifact any more.")
        return
    for item in found:
        _item(studio, item, found, names.get(item.place.variant_id, item.place.variant_id))
    with st.container(horizontal=True):
        navigation.RUNS.link("Make more forms", ":material/ios_share:", {"run": run_dir.name})
        navigation.PLAYGROUND.link("Ask them something", query={"run": run_dir.name})


def _item(studio: Studio, item: Item, found: list[Item], name: str) -> None:
    run_id, variant_id = item.place.run_dir.name, item.place.variant_id
    key = f"{run_id}_{variant_id}_{item.format}"
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            with st.container(gap="xxsmall", width="content"):
                st.text(f"{name} · {item.title}")
                shared = f", {fmt.size(item.usage.shared_bytes)} shared with the stage cache"
                st.caption(
                    f"{fmt.size(item.usage.bytes)} in {fmt.plural(item.usage.files, 'file')}"
                    + (shared if item.usage.shared_bytes else "")
                )
            with st.container(horizontal=True, width="content"):
                st.link_button(
                    "Download zip", downloads.address(run_id, variant_id, item.format), icon=":material/download:"
                )
                if st.button("Delete", icon=":material/delete:", type="tertiary", key=f"shelf_delete_{key}"):
                    st.session_state[ASKED] = key
        if st.session_state.get(ASKED) == key:
            _confirm(studio, item, found, key)
        with st.expander(
            "Model card", icon=":material/description:", on_change="rerun", key=f"shelf_card_{key}"
        ) as card:
            if card.open:
                text = item.card()[:MOST_CARD]
                st.download_button(
                    "Download card",
                    text,
                    file_name=f"{run_id}-{variant_id}-{item.format}-README.md",
                    mime="text/markdown",
                    icon=":material/download:",
                    on_click="ignore",
                    key=f"shelf_card_file_{key}",
                )
                components.scrolling_code(text, "markdown", 360)


def _confirm(studio: Studio, item: Item, found: list[Item], key: str) -> None:
    """Ask whether an item shall really go."""
    gone = items.goes_with(item, found)
    exports = f" and {fmt.plural(len(gone) - 1, 'export')} made from it" if len(gone) > 1 else ""
    size = sum(one.usage.bytes - one.usage.shared_bytes for one in gone)
    what = "this artifact" if item.is_packed else "this export"
    with st.container(border=True, gap="small"):
        st.warning(
            f"Delete {what}{exports} for good? It frees {fmt.size(size)}. Figures and predictions stay; running the "
            "config again makes the files again.",
            icon=":material/warning:",
        )
        with st.container(horizontal=True):
            sure = st.button("Delete for good", icon=":material/delete_forever:", key=f"shelf_sure_{key}")
            if st.button("Keep it", type="primary", key=f"shelf_keep_{key}"):
                st.session_state.pop(ASKED, None)
                st.rerun()
    if sure:
        try:
            removed = items.remove(studio.settings, item)
        except (UserError, OSError) as error:
            components.notice("error", "Nothing was deleted.", str(error))
            return
        st.session_state.pop(ASKED, None)
        _forget()
        components.flash(f"Deleted {fmt.plural(len(removed), 'folder')}.")
        st.rerun()


def disk(studio: Studio) -> None:
    """Render what runs and stage cache take, and offer the clean-up."""
    settings = studio.settings
    usage = _usage(str(settings.results_dir), studio.store.revision)
    cache, problem = _cache(str(settings.results_dir), studio.store.revision)
    runs_bytes = sum(one.whole.bytes - one.whole.shared_bytes for one in usage.values())
    cache_bytes = sum(entry.bytes for entry in cache)
    free = shutil.disk_usage(settings.results_dir).free
    components.metric_row(
        (
            components.Figure(
                "Runs", fmt.size(runs_bytes), note=f"{fmt.plural(len(usage), 'run')}; shared files count as cache"
            ),
            components.Figure("Stage cache", fmt.size(cache_bytes), note=fmt.plural(len(cache), "entry")),
            components.Figure("Free on this disk", fmt.size(free)),
        )
    )
    st.markdown("##### Stage cache")
    if problem:
        components.notice("warning", "Clean-up is not possible now.", problem)
    elif not cache:
        st.caption("The stage cache is empty.")
    else:
        _cache_table(cache)
        _clean_up(settings, cache)
    st.markdown("##### Runs")
    _run_table(usage)
    st.caption(f"Measured at most {MEASURE_S} s ago. Run folders stay: they hold the figures.")


@st.cache_data(ttl=MEASURE_S, max_entries=2, show_spinner="Measuring the disk…")
def _usage(results_dir: str, revision: int) -> dict[str, RunUsage]:
    roots = (Path(results_dir) / "runs", Path(results_dir) / "reference")
    return {run.name: run_usage(run) for root in roots for run in protocol.list_runs(root)}


def _cache(results_dir: str, revision: int) -> tuple[list[clean.Entry], str]:
    try:
        return _entries(results_dir, revision), ""
    except UserError as error:
        return [], str(error)


@st.cache_data(ttl=MEASURE_S, max_entries=2, show_spinner="Measuring the stage cache…")
def _entries(results_dir: str, revision: int) -> list[clean.Entry]:
    from dqf.settings import load_settings

    return clean.entries(load_settings(results_dir))


def _forget() -> None:
    for cached in (_usage, _entries, _runs_with_items):
        cached.clear()


def _cache_table(cache: list[clean.Entry]) -> None:
    frame = pd.DataFrame([{"Stage": one.kind, "status": one.status, "MB": one.bytes / 1e6} for one in cache])
    table = frame.groupby("Stage").agg(Entries=("MB", "size"), **{"Size (MB)": ("MB", "sum")})
    for status, title in STATUS.items():
        part = frame[frame["status"] == status].groupby("Stage")["MB"].sum()
        if len(part):
            table[f"{title} (MB)"] = part.reindex(table.index).fillna(0.0)
    number = st.column_config.NumberColumn(format="%.1f")
    st.dataframe(
        table.sort_values("Size (MB)", ascending=False).reset_index(),
        hide_index=True,
        column_config={str(name): number for name in table if str(name).endswith("(MB)")},
        alt="Entries and size of the stage cache by stage, and what is needed",
    )


def _clean_up(settings: Settings, cache: list[clean.Entry]) -> None:
    """Render the clean-up with what it would free."""
    resumable = any(one.status == clean.RESUMABLE for one in cache)
    give_up = False
    if resumable:
        give_up = st.toggle(
            "Also what unfinished runs could go on from",
            key="shelf_give_up",
            help="They stay resumable, but compute again what is removed.",
        )
    chosen = clean.removable(cache, give_up)
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            f"Clean up {fmt.plural(len(chosen), 'entry')}, {fmt.size(clean.freed(chosen))}"
            if chosen
            else "Nothing to clean up",
            icon=":material/mop:",
            disabled=not chosen,
            key="shelf_clean",
        )
        st.caption("What a recorded variant was made from always stays.", width="content")
    if pressed:
        try:
            count, size = clean.clean(settings, give_up)
        except (UserError, OSError) as error:
            components.notice("error", "The clean-up stopped.", str(error))
            return
        _forget()
        components.flash(f"Removed {fmt.plural(count, 'entry')}, {fmt.size(size)}.")
        st.rerun()


def _run_table(usage: dict[str, RunUsage]) -> None:
    table = pd.DataFrame(
        [
            {
                "Run": name,
                "Total (MB)": one.whole.bytes / 1e6,
                "Artifacts (MB)": one.artifacts.bytes / 1e6,
                "Exports (MB)": one.exports.bytes / 1e6,
                "Other (MB)": one.other_bytes / 1e6,
                "Shared with the cache (MB)": one.whole.shared_bytes / 1e6,
            }
            for name, one in usage.items()
        ]
    )
    if table.empty:
        st.caption("There is no run yet.")
        return
    number = st.column_config.NumberColumn(format="%.1f")
    st.dataframe(
        table.sort_values("Total (MB)", ascending=False),
        hide_index=True,
        height=components.table_height(len(table), most=11),
        column_config={str(name): number for name in table if name != "Run"},
        alt="Disk use of each run by part",
    )
