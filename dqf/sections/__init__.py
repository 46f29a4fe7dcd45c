"""The sections of a run's config, a file each: every setting with its default, limits, flag and help."""

from dqf.sections.distillation import DistillationConfig
from dqf.sections.measurement import MeasurementConfig
from dqf.sections.models import StudentConfig, TeacherConfig
from dqf.sections.quantization import BITS, QuantizationConfig
from dqf.sections.task import TaskConfig
from dqf.sections.tuning import FULL, LORA

__all__ = [
    "BITS",
    "FULL",
    "LORA",
    "DistillationConfig",
    "MeasurementConfig",
    "QuantizationConfig",
    "StudentConfig",
    "TaskConfig",
    "TeacherConfig",
]
