"""The launch form: sections from `RunConfig`, methods from the registry, presets on top."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from dqf import registry
from dqf.config import RunConfig
from dqf.errors import FieldError
from dqf.models.catalog import TEACHER_LAYERS
from dqf.presets import PRESETS, preset_config
from dqf.sections import (
    DistillationConfig,
    MeasurementConfig,
    QuantizationConfig,
    StudentConfig,
    TaskConfig,
    TeacherConfig,
)
from dqf.settings import Settings
from dqf.ui.forms import PREFIX, Form, FormField, fields_of, keep, options_widget, plain, render
from dqf.ui.launch import sources

SECTIONS: dict[str, type] = {
    "task": TaskConfig,
    "teacher": TeacherConfig,
    "student": StudentConfig,
    "distillation": DistillationConfig,
    "quantization": QuantizationConfig,
    "measurement": MeasurementConfig,
}
METHODS = {"distillation.method": "distiller", "quantization.quantizer": "quantizer"}
RUNTIMES = {
    "measurement.runtime": {"auto": "Automatic: the fastest faithful one"},
    "measurement.shared_runtime": {"none": "None", "auto": "Automatic: one that loads every file"},
}
"""Settings that name a runtime, and what each may name besides."""
PRESET_KEY = "launch_preset"
ADVANCED_KEY = "launch_advanced"
OPEN_ADVANCED = "open_launch_advanced"
COLUMNS = ("text_column", "text_pair_column", "label_column")


def preset_picker() -> str:
    """Render the choice of a preset; choosing one fills the whole form."""
    if PRESET_KEY not in st.session_state:
        st.session_state[PRESET_KEY] = PRESETS[0].name
        _fill()
    titles = {preset.name: preset.title for preset in PRESETS}
    name = st.selectbox(
        "Start from",
        list(titles),
        format_func=titles.__getitem__,
        key=PRESET_KEY,
        on_change=_fill,
        persist_state="session",
    )
    st.caption(next(preset.summary for preset in PRESETS if preset.name == name))
    return str(name)


def _fill() -> None:
    """Set every field to the chosen preset's value."""
    config = preset_config(st.session_state[PRESET_KEY]).to_dict()
    for key in [str(key) for key in st.session_state if str(key).startswith(PREFIX)]:
        if key != "launch.upload":
            del st.session_state[key]
    for path, value in _leaves(config, ""):
        st.session_state[PREFIX + path] = plain(value)


def _leaves(data: Mapping[str, Any], path: str) -> list[tuple[str, Any]]:
    found = []
    for name, value in data.items():
        where = f"{path}.{name}" if path else name
        found += _leaves(value, where) if isinstance(value, Mapping) else [(where, value)]
    return found


def render_form(settings: Settings) -> Form:
    """Render every section and return values and error slots."""
    if st.session_state.pop(OPEN_ADVANCED, False):
        st.session_state[ADVANCED_KEY] = True
    form = Form()
    form.set("preset", st.session_state[PRESET_KEY])
    left, right = st.columns(2, gap="medium")
    with left:
        with _card("Task", ":material/task_alt:"):
            _task(form, settings)
        with _card("Teacher and student", ":material/school:"):
            _models(form)
        with _card("Repeatability", ":material/casino:"):
            _fields(form, [one for one in fields_of(RunConfig, "") if one.path == "seed"])
    with right:
        with _card("Distillation", ":material/water_drop:"):
            _section(form, "distillation")
        with _card("Quantization", ":material/grid_4x4:"):
            _section(form, "quantization")
    advanced = st.expander("Advanced settings", icon=":material/tune:", key=ADVANCED_KEY, on_change="rerun")
    with advanced:
        _advanced(form, shown=bool(advanced.open))
    return form


def show_errors(form: Form, errors: Sequence[FieldError]) -> None:
    """Write each error below its field, and open the advanced settings if one of them is there."""
    if {error.path for error in errors} & form.unshown:
        st.session_state[OPEN_ADVANCED] = True
        st.rerun()
    form.show_errors(errors)


def _card(title: str, icon: str) -> Any:
    card = st.container(border=True)
    card.markdown(f"##### {icon} {title}")
    return card


def _task(form: Form, settings: Settings) -> None:
    one = next(one for one in fields_of(TaskConfig, "task") if one.path == "task.source")
    source = sources.task_field(form, one, settings)
    if not source.startswith(sources.OWN_FILE):
        return
    names = sources.column_names(source, settings)
    columns = [one for one in fields_of(TaskConfig, "task") if one.path.removeprefix("task.") in COLUMNS]
    for one in columns:
        if not names:
            st.session_state.setdefault(one.key, one.default)
        elif st.session_state.get(one.key, "") not in names:
            st.session_state[one.key] = _guess(one.path, names)
        widget = options_widget(["", *names], lambda name: name or "None") if names else None
        render(form, one, widget)


def _guess(path: str, names: list[str]) -> str:
    """Return the column whose name says what it is; empty if none does."""
    wanted = {
        "task.text_column": ("text", "sentence", "sentence1", "question", "premise"),
        "task.label_column": ("label", "class", "target", "score"),
    }.get(path, ())
    lowered = {name.lower(): name for name in names}
    return next((lowered[word] for word in wanted if word in lowered), "")


def _models(form: Form) -> None:
    teacher = next(one for one in fields_of(TeacherConfig, "teacher") if one.path == "teacher.model")
    sources.model_field(form, teacher, sources.MODEL_TITLES)
    for one in fields_of(StudentConfig, "student"):
        if one.path == "student.model":
            model = sources.model_field(form, one, sources.STUDENT_TITLES)
        elif one.path == "student.keep_layers" and model == TEACHER_LAYERS:
            render(form, one)


def _section(form: Form, name: str) -> None:
    """Render the main settings of a section and of the method chosen in it."""
    fields = [one for one in fields_of(SECTIONS[name], name) if not one.setting.advanced]
    _fields(form, fields)
    _fields(form, [one for one in _method_options(form, name) if not one.setting.advanced])


def _advanced(form: Form, shown: bool) -> None:
    """Take the advanced settings into the form; their widgets are half of the page, so they wait until it is opened."""
    groups: dict[str, list[FormField]] = {
        name.capitalize(): [
            *(one for one in fields_of(kind, name) if one.setting.advanced),
            *(one for one in _method_options(form, name) if one.setting.advanced),
        ]
        for name, kind in SECTIONS.items()
    }
    groups["Machine"] = [one for one in fields_of(RunConfig, "") if one.setting.advanced]
    for title, fields in groups.items():
        if not shown:
            for one in fields:
                keep(form, one)
        elif fields:
            st.markdown(f"**{title}**")
            _fields(form, fields, per_row=3)


def _method_options(form: Form, section: str) -> list[FormField]:
    """Return the settings of the method chosen in a section, none where there is none."""
    for path, kind in METHODS.items():
        if path.startswith(f"{section}."):
            chosen = form.values.get(section, {}).get(path.removeprefix(f"{section}."))
            if chosen in registry.names(kind):
                return list(fields_of(registry.get(kind, chosen).config, f"{section}.options"))
    return []


def _fields(form: Form, fields: list[FormField], per_row: int = 2) -> None:
    for start in range(0, len(fields), per_row):
        for column, one in zip(st.columns(per_row), fields[start : start + per_row], strict=False):
            with column:
                render(form, one, _widget_for(one.path))


def _widget_for(path: str) -> Callable[[FormField], Any] | None:
    """Return the widget of a setting that names something registered, by title, or a source of texts; else None."""
    if path in sources.TEXT_SOURCES:
        return sources.text_source_widget(path)
    kind = "runtime" if path in RUNTIMES else METHODS.get(path)
    if kind is None:
        return None
    titles = RUNTIMES.get(path, {}) | {entry.name: entry.title for entry in registry.entries(kind)}
    return options_widget(list(titles), lambda name: titles.get(name, name))
