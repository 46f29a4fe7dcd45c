"""The parts of the findings page: which study, its headline, tables and charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dqf.errors import UserError
from dqf.study.files import study_folders
from dqf.ui import addressed, components, paper, suspicious
from dqf.ui import format as fmt
from dqf.ui.charts import CONFIG
from dqf.ui.findings import averages as task_averages
from dqf.ui.findings import charts as finding_charts
from dqf.ui.findings import studies, tables
from dqf.ui.findings.studies import Study
from dqf.ui.shell import navigation
from dqf.ui.studio import Studio

Part = Mapping[str, Any]
SETTINGS, BITS = "settings", "bits"
"""Parameters of the address beside `study`."""
SHOWN, SHOWN_BITS = "_findings_study", "_findings_bits"
PLAIN = {**CONFIG, "displayModeBar": False}


def choose(studio: Studio, controls: DeltaGenerator) -> tuple[Study, Part, str] | None:
    """Let people choose study, condition and bit-width; None where there is no study to show."""
    found: dict[str, Study] = {}
    problems = []
    for folder in study_folders(studio.settings):
        try:
            one = studies.load(folder, studio.settings)
            found[one.name if one.name not in found else str(folder)] = one
        except UserError as error:
            problems.append(str(error))
    if problems:
        components.notice("warning", "Not every study can be shown.", "\n".join(problems))
    if not found:
        return None
    with controls:
        name = addressed.select(
            "Study",
            list(found),
            lambda: next(iter(found)),
            parameter="study",
            key="study",
            gone="The address names a study that is not here; showing another one.",
            width=280,
        )
    study = found[name]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        part = _condition(study)
        bits = _bits(part)
    return study, part, bits


def _condition(study: Study) -> Part:
    parts = {_title(part): part for part in study.conditions}
    before, st.session_state[SHOWN] = st.session_state.get(SHOWN), study.name
    if len(parts) < 2 or (before not in (None, study.name) and st.query_params.get(SETTINGS) not in parts):
        st.query_params.pop(SETTINGS, None)  # it is about the study that was shown before
    if len(parts) < 2:
        return study.conditions[0]
    chosen = addressed.select(
        "Settings",
        list(parts),
        lambda: _title(study.usual),
        parameter=SETTINGS,
        key=f"condition_{study.name}",
        gone="The address names settings that this study does not have; showing others.",
        width=320,
    )
    return parts[chosen]


def _title(part: Part) -> str:
    return str(part["condition"]) or "all runs"


def _bits(part: Part) -> str:
    widths = list(part["bits"])
    if len(widths) < 2:
        st.query_params.pop(BITS, None)
        return str(widths[0]) if widths else ""
    headline, key = str(part.get("headline_bits")), f"finding_bits_{'_'.join(widths)}"
    asked = st.query_params.get(BITS)
    if asked in widths and (asked != st.session_state.get(SHOWN_BITS) or key not in st.session_state):
        st.session_state[key] = asked
    elif key not in st.session_state:
        st.session_state[key] = headline if headline in widths else widths[0]
    chosen = st.segmented_control("Bit-width", widths, required=True, format_func=tables.bits_title, key=key)
    st.session_state[SHOWN_BITS] = st.query_params[BITS] = str(chosen or widths[0])
    return str(chosen or widths[0])


def nothing_yet() -> None:
    """Render the page without any study."""
    components.empty_state(
        ":material/fact_check:",
        "No study has been analysed yet; a study runs tasks, seeds and bit-widths and tests the paper's claims.",
        lambda: navigation.LAUNCH.link("Set up a launch, on one task or on all nine"),
    )
    st.caption("Other studies are started from the command line; the reference study covers all nine GLUE tasks:")
    st.code("python -m dqf study reference", language=None)
    st.subheader("The paper's Table 1", anchor=False)
    published = tables.table_1({"variants": []})
    st.dataframe(published, hide_index=True, alt="The paper's published, simulated figures")


def introduction(study: Study, part: Part) -> None:
    """Say which study this is and on what its figures stand."""
    with st.container(border=True, gap="small"):
        _introduction(study, part)


def _introduction(study: Study, part: Part) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if study.reference:
            st.badge("Committed with the project", icon=":material/verified:", color="green")
        else:
            st.badge("Your own study", icon=":material/person:", color="blue")
        elsewhere = tables.timed_elsewhere(part)
        machines = dict.fromkeys([tables.machine_of(part), *elsewhere.values()])
        st.text(
            f"{fmt.plural(len(part['tasks']), 'task')}, {tables.seeds_told(_students(part))}, {part['n']} examples · "
            f"{'; '.join(machines)}"
        )
    st.text(study.title)
    missing, done = (len(study.facts.get(name) or ()) for name in ("unfinished", "runs"))
    if missing:
        st.caption(
            f":material/hourglass_top: {done} of the plan's {done + missing} runs are done; all figures speak of these."
        )
    description = str(study.summary["study"].get("description") or "")
    if description:
        with st.expander("What the study asks", icon=":material/notes:"):
            st.text(description)


def _students(part: Part) -> Part:
    """Return the figures of some student, which has as many seeds as all; of the part itself without any."""
    return next((row for row in part["variants"] if row["variant"] != "teacher"), part)


def headline(part: Part, bits: str) -> None:
    """Render what Student-DQF reached at the chosen bit-width, each figure beside the paper's."""
    row = part["bits"].get(bits)
    if row is None:
        components.notice("info", "No task has Student-DQF and Student-PTQ at a common bit-width yet.")
        return
    teacher, dqf = paper.TABLE_1
    st.subheader(f"Student-DQF at {'FP16' if bits == '16' else tables.bits_title(bits)}", anchor=False)
    seeds = f"n {fmt.count(row.get('n'))}, {tables.seeds_told(row)}"
    components.metric_row(
        (
            components.Figure(
                "Smaller",
                fmt.times(row["compression_ratio"]),
                f"{fmt.size(row.get('size_bytes'))} instead of the teacher's FP16 file",
                f"paper, simulated: {fmt.times(dqf.smaller(teacher))}",
                "Teacher's FP16 weight file divided by this one's; geometric mean over the tasks.",
            ),
            components.Figure(
                "Faster",
                fmt.times(row.get("speedup")),
                fmt.times_interval(row.get("speedup_ci95_low"), row.get("speedup_ci95_high")),
                f"paper, simulated: {fmt.times(dqf.faster(teacher))}",
                "Teacher's median time of one example divided by this one's, each in the runtime that serves it: the "
                "fastest faithful one, unless the study asked for another.",
            ),
            components.Figure(
                "Retention",
                fmt.percent(row["retention"]),
                fmt.percent_interval(row.get("retention_ci95_low"), row.get("retention_ci95_high")),
                f"paper, simulated: {fmt.percent(dqf.retention(teacher))}",
                "Macro score divided by the teacher's; paired bootstrap over examples and seeds.",
            ),
            components.Figure(
                "Macro score",
                fmt.percent(row["score"]),
                f"{fmt.percent_interval(row.get('score_ci95_low'), row.get('score_ci95_high'))}, {seeds}",
                f"teacher {fmt.percent(row['teacher_score'])} · paper, simulated: {fmt.percent(dqf.glue)}",
                "Average of the tasks' primary metrics.",
            ),
        )
    )
    without = row.get("without_wnli")
    if isinstance(without, Mapping):
        st.caption(
            f"Without WNLI: score {fmt.percent(without.get('score'))}, "
            f"teacher {fmt.percent(without.get('teacher_score'))}, "
            f"retention {tables.ranged(fmt.percent(without.get('retention')), without, 'retention')}."
        )
    elsewhere = tables.timed_elsewhere(part)
    if elsewhere:
        st.caption(
            f"Faster: without {', '.join(elsewhere)}, timed on another machine; the table by task has their own."
        )


def warnings(part: Part) -> None:
    """Render what must be known before a figure is quoted."""
    flags = [str(flag.get("sentence")) for flag in part["sanity"] if isinstance(flag, Mapping)]
    suspicious.expander(flags)


def first_table(part: Part) -> None:
    """Render the paper's Table 1 from measured rows, beside the paper's own."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Table 1, measured", anchor=False, width="content")
        st.badge(f"Last two rows: {paper.LABEL.lower()}", icon=":material/menu_book:", color="orange")
    frame = tables.table_1(part)
    st.dataframe(
        frame,
        hide_index=True,
        height=components.table_height(len(frame), most=len(frame)),
        key="findings_table_1",
        column_config={"Variant": st.column_config.TextColumn(pinned=True, width=180)},
        alt="Size, latency, score and retention of every variant as measured, and the paper's simulated rows",
    )
    st.caption(
        "The paper's rows speak of another teacher on another machine: a claim to test, not a result to match. In "
        "brackets: 95 % intervals over examples and seeds. Ratios are to the teacher's FP16 file and to the teacher "
        "in the runtime that serves it: the fastest faithful one, unless the study asked for another."
    )


@st.fragment
def second_table(study: Study, part: Part, bits: str) -> None:
    """Render the figures of a variant task by task, Student-DQF's at first: chart and table."""
    named = {str(row["system"]): row for row in part["variants"] if row["variant"] != tables.TEACHER}
    usual = f"{tables.DQF}@{bits}"
    if usual not in named:
        return
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.subheader("Table 2, measured: task by task", anchor=False, width="content")
        system = str(
            st.selectbox(
                "Variant",
                list(named),
                list(named).index(usual),
                format_func=lambda one: tables.system_title(named[one]),
                key=f"findings_system_{study.name}_{part['condition']}_{bits}",
                width=240,
            )
        )
    rows, title = tables.tasks_of(part, system), tables.system_title(named[system])
    st.plotly_chart(
        finding_charts.retention_by_task(rows, title, str(named[system]["variant"])),
        config=PLAIN,
        key="findings_tasks",
        alt=f"Retention of {title} on each task with 95 % intervals; the table below holds the same figures",
    )
    number = st.column_config.NumberColumn
    frame = tables.task_table(part, system)
    st.dataframe(
        frame,
        hide_index=True,
        height=components.table_height(len(frame), most=len(frame)),
        key="findings_table_2",
        placeholder=fmt.UNKNOWN,
        column_config={
            "Task": st.column_config.TextColumn(pinned=True),
            **{name: number(format="%.1f") for name in ("Teacher", "Score")},
            "× faster": number(format="%.1f×"),
            "Also": st.column_config.TextColumn(help="What GLUE reports besides; no part of any average."),
            "Lost": number(help="Answers that were right with the teacher and are wrong now, over all seeds."),
            "Won": number(help="Answers that were wrong with the teacher and are right now, over all seeds."),
            "Majority": number(format="%.1f", help="Score of always giving the best single answer."),
            "Published": number(format="%.1f", help="Score of BERT-base, trained on all of GLUE's rows; published."),
        },
        alt=f"Scores of {title} and its teacher by task with intervals, retention, flips and baselines",
    )
    st.dataframe(
        task_averages.averages(part, system),
        hide_index=True,
        key="findings_table_2_averages",
        alt="The average over tasks as measured, and the paper's simulated one",
    )
    st.caption(
        f"{title}, in % of each task's own metric, mean over seeds. This project's sources hold the paper's averages, "
        "not its scores by task: so its row stands below the average and nowhere else."
    )
    rows_behind(task_averages.score_matrix(part), "scores-by-task", "Scores of all variants by task")


def rows_behind(frame: pd.DataFrame, name: str, label: str = "The rows behind it") -> None:
    """Render the rows of a chart, one click away, with a download."""
    with st.expander(label, icon=":material/table_rows:"):
        st.dataframe(
            frame,
            hide_index=True,
            height=components.table_height(len(frame), most=11),
            key=f"rows_{name}",
            alt=f"{label}: {len(frame)} rows",
        )
        st.download_button(
            "Download CSV",
            lambda: frame.to_csv(index=False).encode(),
            file_name=f"dqf-{name}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key=f"csv_{name}",
        )
