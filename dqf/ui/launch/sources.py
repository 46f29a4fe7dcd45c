"""Where models and tasks come from: the choices on Launch, and own files kept under safe names."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from dqf import preflight
from dqf.data.catalog import BBC, TABLE_SUFFIXES, task_choices
from dqf.errors import UserError
from dqf.models.catalog import STARTERS, TEACHER_LAYERS
from dqf.settings import Settings
from dqf.ui.forms import Form, FormField, free_widget, options_widget, render

OWN_FILE = "file:"
TAKEN = "launch.upload_taken"
"""Which upload the path was filled in by."""
MODEL_TITLES = {f"starter:{one.name}": one.title for one in STARTERS}
STUDENT_TITLES = {**MODEL_TITLES, TEACHER_LAYERS: "Layers of the teacher"}
TASK_TITLES = dict(task_choices())
TEXT_SOURCES = {
    "distillation.transfer": {"none": "None", "c4": "A sample of C4"}
    | {source: f"Training rows of {source.removeprefix('glue:')}" for source in TASK_TITLES if source != BBC},
    "quantization.calibration": {"training": "The task's training rows", "c4": "A sample of C4"},
}
"""Settings that take texts from somewhere: the sources known by name, by title."""
TEXT_PLACEHOLDER = "Choose, or type file:PATH"
MODEL_PLACEHOLDER = "Choose, or type org/name or ./folder"


def model_field(form: Form, one: FormField, titles: dict[str, str]) -> str:
    """Render a teacher or student: a starter, or any hub id or folder that is typed."""
    widget = free_widget(list(titles), lambda source: titles.get(source, source), MODEL_PLACEHOLDER)
    return str(render(form, one, widget))


def text_source_widget(path: str) -> Callable[[FormField], Any]:
    """Return the widget of a source of texts: one known by name, or a file that is typed."""
    titles = TEXT_SOURCES[path]
    return free_widget(list(titles), lambda source: titles.get(source, source), TEXT_PLACEHOLDER)


def task_field(form: Form, one: FormField, settings: Settings) -> str:
    """Render the task: a built-in one or an own file, which is uploaded or named by its path."""
    current = str(st.session_state.setdefault(one.key, one.default))
    first, *others = TASK_TITLES
    choices = [first, OWN_FILE, *others]
    picker = f"{one.key}.kind"
    st.session_state.setdefault(picker, OWN_FILE if current.startswith(OWN_FILE) else current)
    kind = options_widget(choices, lambda source: TASK_TITLES.get(source, "Own CSV, JSONL or parquet file"))(
        FormField(f"{one.path}.kind", one.setting, str, one.default)
    )
    source = _own_file(settings) if kind == OWN_FILE else kind
    form.add_slot(one)
    form.set(one.path, source)
    st.session_state[one.key] = source
    return str(source)


def _own_file(settings: Settings) -> str:
    uploaded = st.file_uploader(
        "Upload a file",
        type=[suffix.removeprefix(".") for suffix in TABLE_SUFFIXES],
        key="launch.upload",
        help="A table with a text column and a label column. It is kept in the results folder.",
    )
    if uploaded is not None and st.session_state.get(TAKEN) != uploaded.file_id:  # later the path may be another
        try:
            path = store_upload(settings, uploaded.name, uploaded.getvalue())
            st.session_state["launch.own_path"] = str(path)
            st.session_state[TAKEN] = uploaded.file_id
        except (UserError, OSError) as error:
            st.text(str(error))
    path_text = st.text_input(
        "Path of the file",
        key="launch.own_path",
        help="Filled in by an upload; or a path inside the data folders (DQF_DATA_DIR).",
        persist_state="session",
    )
    return OWN_FILE + (path_text or "").strip()


def column_names(source: str, settings: Settings) -> list[str]:
    """Return the columns of an own file, none if it cannot be read (preflight says why)."""
    if not source.startswith(OWN_FILE) or source == OWN_FILE:
        return []
    try:
        return preflight.columns(source.removeprefix(OWN_FILE), settings)
    except (UserError, OSError):
        return []


def safe_name(name: str, content: bytes) -> str:
    """Return a file name that is safe on any disk and tells different contents apart.

    Raises:
        UserError: it is not a table by its ending.
    """
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    stem, suffix = os.path.splitext(base)
    if suffix.lower() not in TABLE_SUFFIXES:
        raise UserError(f"an own file must be one of {', '.join(TABLE_SUFFIXES)}: got {base[:60]!r}.")
    slug = re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-")[:40] or "data"
    return f"{slug}-{hashlib.sha256(content).hexdigest()[:8]}{suffix.lower()}"


def store_upload(settings: Settings, name: str, content: bytes) -> Path:
    """Write an uploaded file below the uploads folder and return its path; the same content is kept once.

    Raises:
        UserError: it is empty or not a table.
    """
    if not content:
        raise UserError(f"an own file must hold rows: {name[:60]!r} is empty.")
    path = settings.uploads_dir / safe_name(name, content)
    if not path.is_file():
        settings.uploads_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=settings.uploads_dir, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    return path
