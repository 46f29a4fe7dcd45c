"""Take it elsewhere: a variant's artifact and its exports, each offered only once its own consumer agreed.

The card, reasons and names come from files, so they are shown as text or code, never as Markdown.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dqf import registry
from dqf.artifacts import Artifact, open_artifact
from dqf.errors import UserError
from dqf.exporting import jobs
from dqf.exporting.export import INSTALL, ExportResult, missing_packages
from dqf.exporting.jobs import Job
from dqf.exporting.outline import refusal
from dqf.exporting.package import CARD
from dqf.exporting.places import Place, variant_of
from dqf.jobs import protocol
from dqf.jobs.views import tail_log
from dqf.registry import Entry
from dqf.ui import components, forms
from dqf.ui import format as fmt
from dqf.ui.shell import downloads
from dqf.ui.studio import Studio

REFRESH_S = 1.0
MOST_CARD = 60_000
LEAD = (
    "Each form is loaded by the tool it is for, in a fresh process, and offered only if that gave this variant's own "
    "logits."
)


def show(studio: Studio, run_dir: Path, variants: pd.DataFrame) -> None:
    """Render the choice of a variant of a finished run, and what it can be taken away as."""
    working = jobs.working(studio.settings)
    st.fragment(_section, run_every=REFRESH_S if working else None)(studio, run_dir, variants, working)


def _section(studio: Studio, run_dir: Path, variants: pd.DataFrame, rendered: Path | None) -> None:
    working = jobs.working(studio.settings)
    if working != rendered:
        st.rerun()  # whether this part renders itself again depends on it
    names = dict(zip(variants["variant_id"], variants["name"], strict=True))
    chosen = st.selectbox(
        "Variant",
        list(names),
        index=_first(variants),
        format_func=lambda variant: names.get(variant, variant),
        key=f"export_of_{run_dir.name}",
        width=320,
    )
    try:
        place = variant_of(run_dir, chosen)
        artifact = open_artifact(place.artifact, check=False)
    except UserError as error:
        components.notice("info", "This variant cannot be taken elsewhere from here.", str(error))
        return
    st.caption(LEAD)
    _missing()
    if working is not None and working.parents[2] != run_dir:
        st.text(f"Another export is being made: {working.name} of {working.parents[2].name}.")
    _own(place, artifact)
    entries = registry.entries("exporter")
    for entry in sorted(entries, key=lambda entry: (bool(refusal(artifact, entry)), bool(missing_packages(entry)))):
        _format(studio, place, artifact, entry, working)


def _first(variants: pd.DataFrame) -> int:
    """Return the row that is shown first: what the method makes."""
    kinds = variants["variant"].tolist()
    return kinds.index("student-dqf") if "student-dqf" in kinds else 0


def _missing() -> None:
    """Say once which packages lack, and how to get them."""
    lacking = sorted({package for entry in registry.entries("exporter") for package in missing_packages(entry)})
    if lacking:
        st.caption(f"Not installed yet: {', '.join(lacking)}. Formats that are verified by them need this first:")
        st.code(INSTALL, language=None)


def _own(place: Place, artifact: Artifact) -> None:
    with st.container(border=True, gap="small"):
        head = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center")
        head.markdown("**Packed artifact**", width="content")
        st.caption(
            "What was measured: packed weights, tokenizer, topology, receipt and card, in this project's own format."
        )
        try:
            size = artifact.size_bytes
        except OSError:
            components.notice("warning", "Weight files of this artifact are missing.")
            return
        st.text(f"{fmt.size(size)} of weights")
        head.link_button("Download zip", _address(place, downloads.ARTIFACT), icon=":material/download:")


def _format(studio: Studio, place: Place, artifact: Artifact, entry: Entry, working: Path | None) -> None:
    """Render one format: what it is, why not, or what came of it."""
    job = jobs.look(studio.settings, place, entry.name)
    made = jobs.made(place, artifact, entry.name)
    missing = missing_packages(entry)
    with st.container(border=True, gap="small"):
        head = st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center")
        title = head.container(horizontal=True, vertical_alignment="center", width="content")
        never, live = bool(refusal(artifact, entry)), job is not None and job.live
        if not never and not live:
            _settings(place, entry)
        reason = jobs.refusal(artifact, entry, _options(place, entry))
        _title(title, entry, reason, missing, made is not None)
        if reason:
            st.text(reason)
        else:
            st.caption(f"{entry.summary} Verified by {entry.facts['consumer']}.")
        if made is not None:
            _made(place, entry, made)
        if live and job is not None:
            _progress(studio, place, entry, job)
            return
        if job is not None:
            _ended(place, entry, job)
        if never:
            return
        label = "Make it again" if made is not None else "Make and verify"
        blocked = bool(reason or missing or working)
        if head.button(label, icon=":material/build:", disabled=blocked, key=_key("make", place, entry)):
            _start(studio, place, artifact, entry)


def _title(place: DeltaGenerator, entry: Entry, reason: str, missing: Sequence[str], verified: bool) -> None:
    place.markdown(f":gray[**{entry.title}**]" if reason else f"**{entry.title}**", width="content")
    if reason:
        place.badge("Not for this variant", icon=":material/block:", color="gray")
    elif missing:
        place.badge(f"Needs {', '.join(missing)}", icon=":material/extension_off:", color="orange")
    if verified:
        place.badge("Verified", icon=":material/verified:", color="green")


def _made(place: Place, entry: Entry, made: ExportResult) -> None:
    """Render a verified export: how near it is, and its files."""
    seen = made.record["verification"]
    bound = f"(relative L2, n = {seen.get('n')}; at most {fmt.share(seen['tolerance'])} is allowed)"
    st.text(
        f"{fmt.size(made.size_bytes)} · {seen.get('consumer')} gave logits that differ by "
        f"{fmt.share(seen['relative_l2_error'])} {bound} and the same prediction in "
        f"{fmt.percent(seen.get('argmax_agreement'))} · {seen.get('probe')}"
    )
    for note in made.record.get("notes") or ():
        st.text(f"• {note}")
    card = _card(made)
    with st.container(horizontal=True):
        st.link_button("Download zip", _address(place, entry.name), icon=":material/download:")
        st.download_button(
            "Download card",
            card,
            file_name=f"{made.folder.name}-README.md",
            mime="text/markdown",
            icon=":material/description:",
            on_click="ignore",
            key=_key("card", place, entry),
        )
    with st.expander("Model card", icon=":material/description:"):
        components.scrolling_code(card, "markdown", 360)


def _progress(studio: Studio, place: Place, entry: Entry, job: Job) -> None:
    """Render how far an export is that is being made."""
    view = job.view
    done = sum(stage.status == "done" for stage in view.stages)
    phase = view.current_stage
    what = "Stopping" if view.state == protocol.CANCELLING else (phase.title if phase else "Starting")
    elapsed = f" · {fmt.duration(time.time() - view.started.timestamp())}" if view.started else ""
    st.progress(done / len(view.stages) if view.stages else 0.0, text=f"{what}{elapsed}")
    if view.stalled:
        st.caption("It has not been heard of for a minute. Cancel it, or wait.")
    stopping = view.state == protocol.CANCELLING
    if st.button("Cancel export", icon=":material/stop_circle:", disabled=stopping, key=_key("stop", place, entry)):
        jobs.cancel(studio.settings, place, entry.name)
        st.rerun()


def _ended(place: Place, entry: Entry, job: Job) -> None:
    """Say how the last attempt ended, if not well."""
    if job.error:
        components.notice("error", f"The last attempt is {job.view.state}.", job.error)
        log = tail_log(place.job(entry.name))
        if log:
            with st.expander("Log", icon=":material/terminal:"):
                components.scrolling_code(log, None, 200)
    elif job.view.state == protocol.CANCELLED:
        st.caption("The last attempt was cancelled; nothing of it was kept.")


def _start(studio: Studio, place: Place, artifact: Artifact, entry: Entry) -> None:
    try:
        jobs.start(studio.settings, place, artifact, entry.name, _options(place, entry))
    except (UserError, OSError) as error:
        components.notice("error", "The export was not started.", str(error))
        return
    st.rerun()


def _settings(place: Place, entry: Entry) -> None:
    """Render the settings of a format, if it has any."""
    for one in forms.fields_of(entry.config, _path(place, entry)):
        st.session_state.setdefault(one.key, forms.plain(one.default))
        with st.container(width=320):
            forms.default_widget(one)


def _options(place: Place, entry: Entry) -> dict[str, Any]:
    """Return the settings of a format that were chosen, without those left as they are."""
    fields = forms.fields_of(entry.config, _path(place, entry))
    given = {one.path.rsplit(".", 1)[-1]: (st.session_state.get(one.key, one.default), one.default) for one in fields}
    return {name: value for name, (value, default) in given.items() if value != default}


def _card(made: ExportResult) -> str:
    try:
        return (made.folder / CARD).read_text(encoding="utf-8", errors="replace")[:MOST_CARD]
    except OSError:
        return "The card is missing: make the export again."


def _address(place: Place, name: str) -> str:
    return downloads.address(place.run_dir.name, place.variant_id, name)


def _path(place: Place, entry: Entry) -> str:
    return f"export.{place.run_dir.name}.{place.variant_id}.{entry.name}"


def _key(what: str, place: Place, entry: Entry) -> str:
    return f"export_{what}_{place.run_dir.name}_{place.variant_id}_{entry.name}"
