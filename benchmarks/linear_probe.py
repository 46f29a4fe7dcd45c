"""What few labels give without training the student: a logistic regression on its untouched encoder.

`DQF_DATA_DIR=... python benchmarks/linear_probe.py` prints its accuracy on SST-2 with the labelled rows of the study
`labels`: a bound that Student-FT should not fall below. scikit-learn's defaults, nothing tuned. Figures of
docs/studies.md.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dqf.config import RunConfig
from dqf.data.encode import Encoder, length_buckets
from dqf.data.load import load_task
from dqf.data.tasks import Examples, labelled_rows
from dqf.models.loading import Classifier, load_source
from dqf.models.states import sentence_states
from dqf.settings import load_settings
from dqf.training import to_inputs

STUDENT, LAYER = "starter:minilm-l6", 6
LABELS = (100, 300, 1000, 3000)


def main() -> None:
    """Print the figures."""
    settings = load_settings()
    task = load_task(RunConfig.from_dict({"task": {"source": "glue:sst2", "train_rows": 10_000}}), settings)
    with tempfile.TemporaryDirectory() as scratch:
        student = load_source(STUDENT, task, settings, 0, Path(scratch))
        evaluation = _sentences(student, task.evaluation)
        for count in LABELS:
            rows = labelled_rows(task.train, count, 0, True)
            probe = LogisticRegression(max_iter=1000).fit(
                _sentences(student, task.train.take(rows)), task.train.labels[rows]
            )
            print(f"{count} labels: {100 * probe.score(evaluation, task.evaluation.labels):.1f} % right")


def _sentences(student: Classifier, examples: Examples) -> NDArray[np.float32]:
    """Return the mean state of each text, (rows, width), as the encoder was published to be used."""
    encoded = Encoder(student.tokenizer_json, 128)(examples)
    found: NDArray[np.float32] = np.zeros((len(encoded), student.config.hidden_size), dtype=np.float32)
    for rows in length_buckets(encoded, 64):
        batch = to_inputs(student.model, encoded.batch(rows, student.pad_id), torch.device("cpu"))
        with torch.inference_mode():
            hidden = student.model(**batch, output_hidden_states=True).hidden_states
        found[rows] = sentence_states(hidden, [LAYER], batch["attention_mask"], last=False)[0].numpy()
    return found


if __name__ == "__main__":
    main()
