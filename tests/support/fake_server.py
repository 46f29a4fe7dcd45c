"""A server without pages: `python -m tests.support.fake_server RESULTS_DIR` supervises until stdin closes."""

from __future__ import annotations

import sys

from dqf.errors import UserError
from dqf.jobs.executor import LocalExecutor
from dqf.jobs.supervisor import Supervisor
from dqf.settings import load_settings

FAKE_WORKER = (sys.executable, "-m", "tests.support.fake_worker")


def main() -> None:
    settings = load_settings(sys.argv[1])
    supervisor = Supervisor(settings, LocalExecutor(settings, FAKE_WORKER, grace_s=1.0))
    try:
        supervisor.start()
    except UserError as error:
        sys.exit(str(error))
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
