import pytest
import torch

from dqf.errors import UserError
from dqf.models.layer_pairs import layer_pairs
from dqf.models.states import mean_attention, sentence_states


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("last", ((30, 6),)),
        ("uniform", ((5, 1), (10, 2), (15, 3), (20, 4), (25, 5), (30, 6))),
        ("20:4, 10:2", ((10, 2), (20, 4))),
        ("0:0", ((0, 0),)),
        ("none", ()),
    ],
)
def test_layers_are_paired(text, pairs):
    assert layer_pairs(text, 30, 6) == pairs


def test_a_deep_student_of_a_shallow_teacher_never_gets_its_embeddings():
    assert layer_pairs("uniform", 2, 6) == ((1, 1), (1, 2), (1, 3), (1, 4), (2, 5), (2, 6))


@pytest.mark.parametrize(("text", "says"), [("31:6", "1 to 30"), ("1:7", "1 to 6"), ("", "last"), ("3", "last")])
def test_other_layers_are_refused(text, says):
    with pytest.raises(UserError, match=says):
        layer_pairs(text, 30, 6)


def test_padding_is_never_pooled():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    hidden = [torch.randn(2, 3, 4) for _ in range(3)]
    mean = sentence_states(hidden, [2, 0], mask, last=False)
    assert torch.allclose(mean[0], torch.stack([hidden[2][0, :2].mean(0), hidden[2][1].mean(0)]), atol=1e-6)
    assert torch.allclose(mean[1][0], hidden[0][0, :2].mean(0), atol=1e-6)
    last = sentence_states(hidden, [1], mask, last=True)
    assert torch.equal(last[0], torch.stack([hidden[1][0, 1], hidden[1][1, 2]]))


def test_massive_tokens_are_no_part_of_a_mean():
    """A decoder's first token, in its middle layers: a mean with it is its state divided by the text's length."""
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    states = torch.randn(3, 4, 8)
    states[:, 0] *= 100
    (mean,) = sentence_states([states], [0], mask, last=False)
    assert torch.allclose(mean[0], states[0, 1:].mean(0), atol=1e-5)
    assert torch.allclose(mean[1], states[1, 1], atol=1e-5)
    assert torch.allclose(mean[2], states[2, 0]), "a text of one token has no other"


def test_attention_is_averaged_over_heads():
    maps = [torch.rand(2, 3, 4, 4) for _ in range(2)]
    assert torch.allclose(mean_attention(maps, 2)[1], sum(maps[1][1]) / 3)
