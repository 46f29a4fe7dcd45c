"""`python -P consumer.py CODE PROBE OUT`: run the code of a model card in a fresh process, as a reader would.

CODE is the card's Python source; it defines `predict(text, pair=None)`. PROBE holds `{"texts": [..],
"pairs": [..] | null}`. OUT receives `{"logits": [[..]], "versions": {module: version}}`. Nothing of
this project is imported: what loads here loads elsewhere.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

PACKAGES = ("torch", "transformers", "tokenizers", "gptqmodel", "optimum", "gguf", "onnxruntime", "numpy")


def main() -> None:
    """Run the code and predict."""
    code, probe, out = sys.argv[1:4]
    data = json.loads(Path(probe).read_text(encoding="utf-8"))
    names: dict = {"__name__": "__main__"}
    exec(compile(Path(code).read_text(encoding="utf-8"), "README.md", "exec"), names)  # noqa: S102 - ours
    pairs = data["pairs"] or [None] * len(data["texts"])
    logits = [[float(x) for x in names["predict"](text, pair)] for text, pair in zip(data["texts"], pairs, strict=True)]
    versions = {name: _version(name) for name in PACKAGES if name in sys.modules}
    Path(out).write_text(json.dumps({"logits": logits, "versions": versions}), encoding="utf-8")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
