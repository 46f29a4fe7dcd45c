"""Form fields made from settings: whatever `dqf.fields` declares shows up, with its errors below it.

A field's widget has the key `launch.<path>`. Limits are not enforced by the widgets: the server's
one gate (`RunConfig.from_dict`) says what is wrong, under the field.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dqf.errors import FieldError
from dqf.fields import Setting, setting_of, type_hints
from dqf.ui import format as fmt

PREFIX = "launch."


@dataclass(frozen=True)
class FormField:
    """One setting of a config dataclass.

    Attributes:
        path: dotted name, for example `quantization.bits`.
        setting: label, help, choices.
        annotation: its type.
        default: its default.
    """

    path: str
    setting: Setting
    annotation: Any
    default: Any

    @property
    def key(self) -> str:
        """Key of the widget."""
        return PREFIX + self.path


@dataclass
class Form:
    """The values read from the widgets, and the place below each where its errors go.

    Attributes:
        values: nested, as `RunConfig.from_dict` takes them.
        slots: by dotted name.
        labels: what the page calls each field, with its section.
        unshown: dotted names of fields that have no widget now.
    """

    values: dict[str, Any] = field(default_factory=dict)
    slots: dict[str, DeltaGenerator] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    unshown: set[str] = field(default_factory=set)

    def set(self, path: str, value: Any) -> None:
        """Keep a value under its dotted name."""
        part = self.values
        *sections, name = path.split(".")
        for section in sections:
            part = part.setdefault(section, {})
        part[name] = value

    def add_slot(self, one: FormField) -> None:
        """Keep the place where the next part of the page would go, for a field's errors."""
        self.slots[one.path] = st.container()
        section = one.path.split(".")[0].capitalize()
        self.labels[one.path] = (
            one.setting.label if section == one.setting.label else f"{section}, {one.setting.label.lower()}"
        )

    def show_errors(self, errors: Iterable[FieldError]) -> None:
        """Write each error below its field; those without a field are left to the summary."""
        for error in errors:
            slot = self.slots.get(error.path)
            if slot is not None:
                with slot, st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                    st.badge("Fix", icon=":material/error:", color="red")
                    st.text(error.message)

    def sentence(self, error: FieldError) -> str:
        """Return an error with the name that its field has on the page."""
        label = self.labels.get(error.path, error.path)
        return f"{label}: {error.message}" if label else error.message


def fields_of(config_type: type, path: str) -> Iterator[FormField]:
    """Yield the settings of a config dataclass; sections and free-form options are left out."""
    hints = type_hints(config_type)
    for one in dataclasses.fields(config_type):
        facts = setting_of(one)
        if facts is not None:
            yield FormField(f"{path}.{one.name}" if path else one.name, facts, hints[one.name], one.default)


def render(form: Form, one: FormField, widget: Callable[[FormField], Any] | None = None) -> Any:
    """Render a field and the slot for its errors, and keep its value.

    Args:
        form: receives value and slot.
        one: the field.
        widget: renders it in a way of its own; by default the type decides.
    """
    st.session_state.setdefault(one.key, plain(one.default))
    value = (widget or default_widget)(one)
    form.add_slot(one)
    form.set(one.path, value)
    return value


def keep(form: Form, one: FormField) -> None:
    """Keep a field's value without its widget, while the part of the page it stands in is closed."""
    value = st.session_state.setdefault(one.key, plain(one.default))
    form.set(one.path, value.strip() if isinstance(value, str) else value)
    form.unshown.add(one.path)


def default_widget(one: FormField) -> Any:
    """Render the widget that fits the setting's type and choices, and return its value."""
    facts = one.setting
    common: dict[str, Any] = {"key": one.key, "help": _help(facts), "persist_state": "session"}
    if typing.get_origin(one.annotation) is tuple:
        return _many(one, common)
    if facts.choices:
        return _one_of(one, facts.choices, common)
    if one.annotation is bool:
        return st.toggle(facts.label, **common)
    if one.annotation is int:
        return st.number_input(facts.label, step=1, **common)
    if one.annotation is float:
        return st.number_input(facts.label, step=_step(one.default), format="%g", **common)
    return st.text_input(facts.label, **common).strip()


def options_widget(options: Sequence[str], titles: Callable[[str], str] = str) -> Callable[[FormField], Any]:
    """Return a widget for a text setting that is one of `options`."""

    def widget(one: FormField) -> Any:
        common = {"key": one.key, "help": _help(one.setting), "persist_state": "session"}
        return _one_of(one, options, {**common, "format_func": titles})

    return widget


def free_widget(options: Sequence[str], titles: Callable[[str], str], placeholder: str) -> Callable[[FormField], Any]:
    """Return a widget that offers `options` and takes anything else that is typed."""

    def widget(one: FormField) -> Any:
        current = st.session_state[one.key]
        offered = list(options) if not current or current in options else [*options, current]
        chosen = st.selectbox(
            one.setting.label,
            offered,
            key=one.key,
            help=_help(one.setting),
            format_func=titles,
            accept_new_options=True,
            placeholder=placeholder,
            persist_state="session",
        )
        return (chosen or "").strip()

    return widget


def _one_of(one: FormField, options: Sequence[Any], common: dict[str, Any]) -> Any:
    current = st.session_state[one.key]
    offered = list(options) if current in options else [*options, current]
    return st.selectbox(one.setting.label, offered, **common)


def _many(one: FormField, common: dict[str, Any]) -> list[Any]:
    titles = fmt.bits if one.path.endswith("bits") else str
    chosen = st.pills(one.setting.label, one.setting.choices, selection_mode="multi", format_func=titles, **common)
    return sorted(chosen or [], reverse=True)


def plain(value: Any) -> Any:
    """Return a setting's value as widgets keep it."""
    return list(value) if isinstance(value, tuple) else value


def _help(facts: Setting) -> str:
    limits = [
        f"{word} {limit:g}"
        for word, limit in (("at least", facts.minimum), ("at most", facts.maximum))
        if limit is not None
    ]
    return f"{facts.help} Allowed: {', '.join(limits)}." if limits else facts.help


def _step(default: Any) -> float:
    """Return a step that fits the size of the default."""
    size = abs(float(default)) or 1.0
    return float(10.0 ** (math.floor(math.log10(size)) - (0 if size >= 1 and size == round(size) else 1)))
