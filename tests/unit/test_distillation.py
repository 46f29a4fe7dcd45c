import pytest
import torch
from torch.nn import functional

from dqf import registry
from dqf.data.tasks import UNLABELLED
from dqf.models.states import Features


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


def test_rows_without_labels_learn_from_the_teacher_alone():
    student, teacher = torch.randn(6, 3), torch.randn(6, 3)
    labels = torch.tensor([0, 1, UNLABELLED, UNLABELLED, 1, UNLABELLED])
    seen = labels != UNLABELLED
    hard = functional.cross_entropy(student[seen], labels[seen], reduction="sum") / 6
    soft = loss(student, teacher, torch.zeros(6, dtype=torch.long), 2.0, 1.0)
    assert torch.allclose(loss(student, teacher, labels, 2.0, 0.25), 0.75 * hard + 0.25 * soft)
    nothing = torch.full((6,), UNLABELLED)
    assert torch.allclose(loss(student, teacher, nothing, 2.0, 0.25), 0.25 * soft)
    outputs, targets = torch.tensor([[1.0], [2.0]], requires_grad=True), torch.tensor([float("nan"), 4.0])
    value = loss(outputs, torch.zeros(2, 1), targets, 1.0, 0.5)
    value.backward()
    assert float(value) == pytest.approx(0.5 * 4 / 2 + 0.5 * 5 / 2)
    assert outputs.grad.isfinite().all()


def feature_loss(features, **settings):
    entry = registry.get("distiller", "feature-kd")
    config = entry.config(**settings)
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    plain = loss(logits, logits, labels, config.temperature, config.alpha)
    return float(entry.target(logits, logits, labels, config, features) - plain)


def test_states_add_their_weighted_mean_squared_error():
    student, teacher = torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    features = Features(tuple(student), tuple(teacher))
    expected = 3.0 * float(((student - teacher) ** 2).mean())
    assert feature_loss(features, feature_weight=3.0) == pytest.approx(expected, abs=1e-4)
    assert feature_loss(None) == 0


def test_the_cosine_does_not_see_lengths():
    states = torch.randn(4, 5)
    features = Features((7 * states,), (states,))
    assert feature_loss(features, distance="cosine") == pytest.approx(0, abs=1e-5)
    assert feature_loss(Features((-states,), (states,)), distance="cosine") == pytest.approx(2, abs=1e-5)


def test_attention_is_the_divergence_over_real_tokens():
    states = torch.zeros(4, 5)
    student, teacher = torch.randn(4, 6, 6).softmax(-1), torch.randn(4, 6, 6).softmax(-1)
    mask = torch.tensor([[1] * 6, [1] * 6, [1] * 4 + [0] * 2, [1] + [0] * 5])
    each = (teacher * (teacher / student).log()).sum(-1)
    expected = float(each[mask.bool()].mean())
    features = Features((states,), (states,), student, teacher, mask)
    assert feature_loss(features, attention_weight=2.0) == pytest.approx(2 * expected, rel=1e-3)
    same = Features((states,), (states,), teacher, teacher, mask)
    assert feature_loss(same, attention_weight=2.0) == pytest.approx(0, abs=1e-5)
