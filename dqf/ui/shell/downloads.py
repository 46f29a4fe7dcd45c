"""The address `/downloads/RUN/VARIANT/FORMAT.zip`: exports and artifacts, sent from disk piece by piece.

Streamlit's own download button would keep the whole file in memory.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from dqf import registry
from dqf.artifacts import open_artifact
from dqf.errors import UserError
from dqf.exporting import jobs
from dqf.exporting.card import Origin, artifact_card
from dqf.exporting.package import Package, package_of_artifact, package_of_export, zip_chunks, zip_size_bytes
from dqf.exporting.places import variant_of
from dqf.jobs import protocol
from dqf.settings import load_settings
from dqf.ui.shell import login

ARTIFACT = "dqf"
"""Stands for the packed artifact itself among the formats."""


def address(run_id: str, variant_id: str, name: str) -> str:
    """Return where the zip of an export, or of the artifact (`ARTIFACT`), is fetched from."""
    return "/".join((base_path(), "downloads", quote(run_id), quote(variant_id), f"{quote(name)}.zip"))


def routes() -> list[Route]:
    """Return what the app object serves besides the pages."""
    return [Route(f"{base_path()}/downloads/{{run_id}}/{{variant_id}}/{{name}}.zip", _download, methods=["GET"])]


def base_path() -> str:
    """Return where the app stands on its server: empty, or a path without the last slash."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}" if base else ""


def _download(request: Request) -> Response:
    """Send a zip; a plain function, so that it runs in a thread and no page waits for the disk."""
    if not login.request_may_enter(request):
        return PlainTextResponse("sign in on any page first; downloads need it too.", 401)
    run_id, variant_id, name = (request.path_params[part] for part in ("run_id", "variant_id", "name"))
    try:
        package = find_package(run_id, variant_id, name)
    except (UserError, OSError) as error:
        return PlainTextResponse(str(error), 404)
    headers = {
        "Content-Disposition": f'attachment; filename="{run_id}-{package.folder.name}.zip"',
        "Cache-Control": "no-store",
    }
    size = zip_size_bytes(package)
    if size is not None:
        headers["Content-Length"] = str(size)
    return StreamingResponse(zip_chunks(package), media_type="application/zip", headers=headers)


def find_package(run_id: str, variant_id: str, name: str) -> Package:
    """Return what a download holds.

    Raises:
        UserError: no such run, variant or format, or no verified export.
    """
    settings = load_settings()
    run_dir = _run_dir((settings.runs_dir, settings.reference_dir), run_id)
    place = variant_of(run_dir, variant_id)
    artifact = open_artifact(place.artifact, check=False)
    if name == ARTIFACT:
        origin = Origin(run_id, variant_id, place.result)
        return package_of_artifact(artifact, lambda: artifact_card(artifact, origin))
    export = jobs.made(place, artifact, registry.get("exporter", name).name)
    if export is None:
        raise UserError(
            f"an export must be made and verified before it is downloaded: {variant_id} as {name} is not; "
            "make it on the page Runs."
        )
    return package_of_export(export)


def _run_dir(roots: tuple[Path, ...], run_id: str) -> Path:
    if protocol.valid_run_id(run_id):
        for root in roots:
            if (root / run_id / "config.json").is_file():
                return root / run_id
    raise UserError(f"a run must exist to be downloaded from: got {run_id!r}; the page Runs lists them.")
