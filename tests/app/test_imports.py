"""The web process stays light: nothing it imports brings torch or a model runtime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import gc, re, sys
from pathlib import Path
from dqf.ui.shell.warm_up import warm_up
warm_up()
assert {"dqf.ui.frontier.chart", "dqf.ui.sql.view", "pandas", "plotly"} <= set(sys.modules)
assert gc.get_freeze_count() > 100_000
for page in sorted(Path("pages").glob("*.py")):
    for line in page.read_text().splitlines():
        if re.match(r"(from|import) ", line) and "__future__" not in line:
            exec(line)
from dqf import registry
for kind in registry.KINDS:
    registry.entries(kind)
from dqf import preflight
from dqf.estimate import estimate
from dqf.presets import preset_config
from dqf.settings import load_settings
preflight.check(preset_config("starter"), load_settings())
heavy = {"torch", "transformers", "onnx", "onnxruntime", "openvino", "nncf", "gguf", "gptqmodel"}
heavy = sorted(heavy & set(sys.modules))
print("heavy:", heavy)
"""


def test_web_process_never_imports_torch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "DQF_RESULTS_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "heavy: []" in done.stdout


@pytest.mark.parametrize("page", sorted((ROOT / "pages").glob("*.py")), ids=lambda path: path.stem)
def test_pages_are_short_and_leave_the_work_to_modules(page):
    assert len(page.read_text().splitlines()) <= 60
