"""The forms a report can take, as bytes; page and command line offer the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from dqf.ui.report.content import Report, machine_rows


@dataclass(frozen=True)
class Form:
    """One form: title and icon of its button, end of its file name, media type, and what makes it."""

    title: str
    suffix: str
    mime: str
    icon: str
    make: Callable[[Report], bytes]


def _html(report: Report) -> bytes:
    from dqf.ui.report import html

    return html.render(report)


def _pdf(report: Report) -> bytes:
    from dqf.ui.report import pdf

    return pdf.render(report)


def _csv(report: Report) -> bytes:
    return machine_rows(report).to_csv(index=False).encode()


def _parquet(report: Report) -> bytes:
    buffer = io.BytesIO()
    machine_rows(report).to_parquet(buffer, index=False)
    return buffer.getvalue()


FORMS = (
    Form("HTML", "html", "text/html", ":material/public:", _html),
    Form("PDF", "pdf", "application/pdf", ":material/picture_as_pdf:", _pdf),
    Form("CSV", "csv", "text/csv", ":material/csv:", _csv),
    Form("Parquet", "parquet", "application/vnd.apache.parquet", ":material/table:", _parquet),
)
