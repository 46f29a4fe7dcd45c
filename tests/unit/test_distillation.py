import pytest
import torch
from torch.nn import functional

from dqf import registry


def loss(student, teacher, labels, temperature, alpha):
    entry = registry.get("distiller", "logit-kd")
    return entry.target(student, teacher, labels, entry.config(temperature, alpha))


def test_alpha_zero_is_cross_entropy():
    student, teacher, labels = torch.randn(6, 3), torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    assert torch.allclose(loss(student, teacher, labels, 4.0, 0.0), functional.cross_entropy(student, labels))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 8.0])
def test_alpha_one_is_the_scaled_divergence_written_out(temperature):
    student, teacher = torch.randn(6, 3), torch.randn(6, 3)
    p = torch.softmax(teacher / temperature, -1)
    q = torch.softmax(student / temperature, -1)
    expected = temperature**2 * (p * (p.log() - q.log())).sum(-1).mean()
    assert torch.allclose(
        loss(student, teacher, torch.zeros(6, dtype=torch.long), temperature, 1.0), expected, atol=1e-5
    )


def test_a_student_that_equals_its_teacher_has_no_soft_loss():
    logits = torch.randn(6, 3)
    assert abs(float(loss(logits, logits.clone(), torch.zeros(6, dtype=torch.long), 2.0, 1.0))) < 1e-6


def test_regression_is_two_squared_errors():
    student, teacher, labels = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.0]]), torch.tensor([1.0, 4.0])
    assert float(loss(student, teacher, labels, 3.0, 0.25)) == pytest.approx(0.75 * 2.0 + 0.25 * 2.5)
