"""DQF Studio's web app: `streamlit run app.py` (or `make app`).

The app object starts the supervisor with the server, so queued runs go on with no browser open, and sends
downloads that are too large for a page.
"""

from __future__ import annotations

import logging
import runpy
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from streamlit.runtime.scriptrunner import get_script_run_ctx

ROOT = Path(__file__).resolve().parent
ROUTER = ROOT / "dqf" / "ui" / "shell" / "router.py"
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[dict[str, Any]]:
    from dqf.errors import UserError
    from dqf.jobs.supervisor import ensure_supervisor
    from dqf.serving.shared import stop_serving
    from dqf.settings import load_settings
    from dqf.ui.shell.sockets import send_at_once
    from dqf.ui.shell.warm_up import warm_up

    send_at_once()
    warm_up()
    supervisor = None
    try:
        supervisor = ensure_supervisor(load_settings())
    except UserError as error:
        logging.getLogger("dqf").error("%s", error)  # every page shows it too and tries again
    yield {}
    stop_serving()
    if supervisor is not None:
        supervisor.stop()


from dqf.ui.shell import ahead, downloads  # noqa: E402
from dqf.ui.shell.guard import Guard  # noqa: E402

app = st.App(
    ROUTER,
    lifespan=lifespan,
    routes=[*downloads.routes(), *ahead.routes()],
    middleware=[Middleware(Guard), Middleware(ahead.Ahead)],
)

# Run as a script (AppTest): the app object would show nothing.
if get_script_run_ctx(suppress_warning=True) is not None:
    runpy.run_path(str(ROUTER), run_name="__main__")
