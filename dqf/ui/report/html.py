"""A report as one HTML file: interactive charts inside, nothing fetched, nothing sent."""

from __future__ import annotations

import html

import pandas as pd
import plotly.graph_objects as go
import plotly.io

from dqf.ui import format as fmt
from dqf.ui.axes import LATENCY, SCORE, SIZE
from dqf.ui.charts import CONFIG, bars
from dqf.ui.frontier.chart import frontier
from dqf.ui.report.content import Report

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""The browser itself refuses any request the file might make."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
STYLE = f"""
:root {{ color-scheme: light; }}
body {{ font: 15px/1.5 {FONT}; color: #1a1e2b; margin: 0 auto; max-width: 1120px; padding: 32px 20px 64px; }}
h1 {{ font-size: 26px; line-height: 1.25; margin: 0 0 4px; }} h2 {{ font-size: 19px; margin: 36px 0 10px; }}
h3 {{ font-size: 15px; margin: 24px 0 8px; }} .quiet {{ color: #5b6272; font-size: 13px; }}
.lead {{ border: 1px solid #dcdfe8; border-left: 4px solid #4453d6; border-radius: 8px; }}
.lead {{ padding: 6px 16px; margin: 20px 0; }}
.charts {{ display: grid; grid-template-columns: minmax(0, 1fr); gap: 16px; }}
@media (min-width: 800px) {{ .charts {{ grid-template-columns: repeat(2, minmax(0, 1fr)); }} }}
.charts > div {{ border: 1px solid #dcdfe8; border-radius: 8px; padding: 10px; min-width: 0; }}
.scroll {{ overflow-x: auto; border: 1px solid #dcdfe8; border-radius: 8px; }}
table {{ border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 7px 10px; text-align: left; vertical-align: top; border-bottom: 1px solid #eceef4; }}
th {{ background: #f4f5fa; font-weight: 600; white-space: nowrap; }} tr:last-child td {{ border-bottom: 0; }}
td.figure {{ white-space: nowrap; }}
dl {{ display: grid; grid-template-columns: 110px 1fr; gap: 4px 14px; font-size: 13px; }}
dt {{ color: #5b6272; }} dd {{ margin: 0; overflow-wrap: anywhere; }}
pre {{ background: #f4f5fa; border-radius: 8px; padding: 12px; overflow-x: auto; font-size: 12.5px; }}
summary {{ cursor: pointer; color: #3a48c4; font-size: 13px; }}
@media print {{ .charts {{ grid-template-columns: 1fr 1fr; }} details {{ display: none; }} }}
"""
WRAPPED = ("Textbook", "Your rows say", "Best row", "Scenario")


def render(report: Report) -> bytes:
    """Return the file."""
    body = "\n".join(
        (
            f"<h1>{_text(report.title)}</h1>",
            f"<p class='quiet'>DQF Studio {_text(report.version)} · made {fmt.moment(report.created)} UTC · measured "
            "on the files that ship</p>",
            f"<div class='lead'>{''.join(f'<p>{_text(one)}</p>' for one in report.lead)}</div>",
            "<h2>The trade-off</h2>",
            _charts(report),
            "<h2>The rows</h2>",
            _table(report.table),
            "<p class='quiet'>In brackets: 95 % intervals.</p>",
            _optional(
                "Differences against the teacher, on the same examples",
                report.differences,
                "Paired: exact McNemar for accuracy, bootstrap otherwise; p corrected by Holm over these rows. "
                "Lost and won: examples that only the teacher, or only the variant, got right.",
            ),
            _optional("Where it will run", report.advice, "Textbook: the common rule of thumb, a claim to test."),
            "<h2>How to read it</h2>",
            "".join(f"<p>{_text(one)}</p>" for one in report.notes),
            "<h2>How it was measured, and how to make it again</h2>",
            *(_run(report, at) for at in range(len(report.runs))),
        )
    )
    page = (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{_text(report.title)}</title><style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )
    return page.encode()


def _charts(report: Report) -> str:
    rows = report.variants
    figures = (
        ("Size against score", frontier(rows, SIZE, SCORE, height=380, bubble=False, most_bubbles=len(rows))),
        ("Latency against score", frontier(rows, LATENCY, SCORE, height=380, bubble=False, most_bubbles=len(rows))),
        ("Size", bars(rows, SIZE)),
        ("Latency, p50", bars(rows, LATENCY)),
    )
    parts = [_figure(title, figure, with_library=at == 0) for at, (title, figure) in enumerate(figures)]
    return f"<div class='charts'>{''.join(parts)}</div>"


def _figure(title: str, figure: go.Figure, with_library: bool) -> str:
    figure.update_layout(template="plotly_white", font={"family": FONT, "size": 12}, autosize=True)
    drawn = plotly.io.to_html(
        figure, config={**CONFIG, "responsive": True}, include_plotlyjs=with_library, full_html=False
    )
    return f"<div><h3 style='margin-top:0'>{html.escape(title)}</h3>{drawn}</div>"


def _table(frame: pd.DataFrame) -> str:
    heads = "".join(f"<th scope='col'>{_text(name)}</th>" for name in frame.columns)
    lines = []
    for row in frame.to_dict("records"):
        cells = (f"<td{'' if name in WRAPPED else ' class=figure'}>{_text(value)}</td>" for name, value in row.items())
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div class='scroll'><table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def _optional(title: str, frame: pd.DataFrame, note: str) -> str:
    if frame.empty:
        return ""
    return f"<h2>{html.escape(title)}</h2>{_table(frame)}<p class='quiet'>{html.escape(note)}</p>"


def _run(report: Report, at: int) -> str:
    run = report.runs[at]
    used = report.table.loc[(report.variants["run_id"] == run.run_id).to_numpy(), "#"]
    facts = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in run.facts)
    return (
        f"<h3>Run {_text(run.run_id)}: rows {_text(', '.join(used))}</h3><dl>{facts}</dl>"
        f"<p>Save the config below as <code>{_text(run.run_id)}-config.json</code> and run:</p>"
        f"<pre>{_text(run.command)}</pre><details><summary>Config</summary><pre>{_text(run.config)}</pre></details>"
    )


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
