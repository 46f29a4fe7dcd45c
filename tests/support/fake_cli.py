"""The command line with a pipeline that only sleeps: `python -m tests.support.fake_cli run ...`."""

from dqf import cli
from dqf.jobs import worker
from dqf.jobs.executor import LocalExecutor
from dqf.sweeps import command
from tests.support.fake_server import FAKE_WORKER
from tests.support.fake_worker import fake_pipeline

if __name__ == "__main__":
    worker._real_pipeline = lambda: fake_pipeline
    cli._check = lambda config, settings, resumed=False: None
    command.make_executor = lambda settings: LocalExecutor(settings, FAKE_WORKER, grace_s=1.0)
    cli.entry()
