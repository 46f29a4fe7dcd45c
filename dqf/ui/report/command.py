"""`python -m dqf report`: the report of the Reports page, without a browser and beside a running app."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.settings import Settings
from dqf.store.db import Store
from dqf.store.ingest import ingest_run
from dqf.ui.report import files
from dqf.ui.report.gather import put_together
from dqf.ui.studio import Studio


def write(settings: Settings, runs: Sequence[str], out: Path | None, loss: float) -> Path:
    """Write the report of all variants of some runs.

    Args:
        settings: where the results lie.
        runs: ids, beginnings of ids, or `latest`.
        out: the file; its ending says which form.
        loss: allowed below the teacher, as a share.

    Returns:
        The file.

    Raises:
        UserError: no such run or form, a run without measured variants, or the file cannot be written.
    """
    suffixes = {form.suffix: form for form in files.FORMS}
    suffix = out.suffix.removeprefix(".").lower() if out else "html"
    if suffix not in suffixes:
        raise UserError(f"`--out` must end in .{', .'.join(suffixes)}: {out} does not.")
    if not 0 <= loss < 1:
        raise UserError(f"`--loss` must be a share from 0 to below 1: {loss:g} is not; 0.02 allows 2 % less.")
    with tempfile.TemporaryDirectory() as folder:  # an index of its own: the app may hold the store
        studio = Studio(settings, Store.open(replace(settings, results_dir=Path(folder))))
        try:
            for run in runs:
                run_dir = protocol.find_run((settings.runs_dir, settings.reference_dir), run)
                if not (run_dir / "result.json").is_file():
                    state = protocol.run_state(run_dir)
                    raise UserError(f"a report needs measured variants: {run_dir.name} has none; it is {state}.")
                ingest_run(studio.store, run_dir)
                if run_dir.name not in set(studio.variants()["run_id"]):
                    raise UserError(f"a report needs measured variants: the result of {run_dir.name} has none.")
            report = put_together(studio, studio.variants(), loss)
            file = out or Path(f"{report.file_stem}.html")
            content = suffixes[suffix].make(report)
        finally:
            studio.store.close()
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UserError(f"`--out` must be a file that can be written: {file} is not ({error.strerror}).") from None
    return file
