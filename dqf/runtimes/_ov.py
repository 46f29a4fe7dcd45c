"""OpenVINO, kept from telling anybody: import it from here, never by itself.

`openvino_telemetry`, which OpenVINO installs, sends a dozen events per converted model to Google Analytics unless the
user found the command that forbids it, and makes a folder for that in the user's home. OpenVINO does without the
module where it cannot be imported, so it cannot be imported here.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402, TID251
from openvino import opset13 as ops  # noqa: E402, TID251

__all__ = ["PREFIX", "ops", "ov", "replace", "serialize"]

PREFIX = "tensor:"
"""Before a tensor's name in the weight file, in the name of the node that stands for it."""


def replace(node: Any, replacement: Any) -> None:
    """Give all that meets a node the replacement instead."""
    name, shape, given = (
        node.get_friendly_name(),
        list(node.get_output_shape(0)),
        list(replacement.get_output_shape(0)),
    )
    if given != shape:
        raise RuntimeError(f"{name} has shape {shape} in the graph, {given} here")
    for target in node.output(0).get_target_inputs():
        target.replace_source_output(replacement.output(0))


def serialize(graph: ov.Model, xml: Path) -> None:
    """Write a graph as XML, and its constants beside it as `.bin`.

    Raises:
        OSError: the disk is full.
    """
    try:
        ov.serialize(graph, xml, xml.with_suffix(".bin"))
    except RuntimeError as error:
        if "iostream" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(xml.parent)) from error  # it says no more itself
