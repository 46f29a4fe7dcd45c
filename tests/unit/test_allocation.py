"""Mixed precision: the plan fits its budget, is as good as the best there is, and follows measured sensitivity."""

import itertools
import random

import pytest
import torch

from dqf.errors import UserError
from dqf.progress import SilentReporter
from dqf.quant.allocation import BITS, allocate, measure_sensitivity
from dqf.quant.qparams import Granularity, choose_qparams, quantize


def random_costs(layers, seed):
    rng = random.Random(seed)
    sensitivity, sizes = {}, {}
    for layer in range(layers):
        base, params = rng.expovariate(1.0), rng.choice((64, 256, 1024))
        sensitivity[str(layer)] = {bits: base * 4.0**-bits * rng.uniform(0.7, 1.3) for bits in BITS}
        sizes[str(layer)] = {bits: float(bits * params) for bits in BITS}
    return sensitivity, sizes


def rounded(weight, granularity):
    return quantize(weight, choose_qparams(weight, granularity), granularity)


def cost(plan, table):
    return sum(table[name][bits] for name, bits in plan.items())


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("average", [2.0, 2.5, 3.5, 5.0, 8.0])
def test_plans_fit_the_budget_and_come_close_to_the_best(seed, average):
    sensitivity, sizes = random_costs(6, seed)
    budget = average * sum(one[8] / 8 for one in sizes.values())
    plan = allocate(sensitivity, sizes, budget)
    assert cost(plan, sizes) <= budget
    fitting = (
        dict(zip(sizes, bits, strict=True))
        for bits in itertools.product(BITS, repeat=len(sizes))
        if sum(sizes[name][b] for name, b in zip(sizes, bits, strict=True)) <= budget
    )
    best = min(cost(one, sensitivity) for one in fitting)
    uniform = max(b for b in BITS if b <= average)
    assert cost(plan, sensitivity) <= cost(dict.fromkeys(sizes, uniform), sensitivity) + 1e-12
    assert cost(plan, sensitivity) <= 2.0 * best + 1e-12


def test_a_budget_below_two_bits_is_refused():
    sensitivity, sizes = random_costs(3, 0)
    with pytest.raises(UserError, match="raise it"):
        allocate(sensitivity, sizes, 1.9 * sum(one[8] / 8 for one in sizes.values()))


def test_sensitivity_tells_the_layer_that_matters_and_leaves_the_model_alone():
    torch.manual_seed(0)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.idle, self.busy = torch.nn.Linear(16, 16), torch.nn.Linear(16, 4)

        def forward(self, x, attention_mask):
            return type("Out", (), {"logits": self.busy(x) + 1e-3 * self.idle(x)[:, :4]})

    model = Model().eval()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    batch = {"x": torch.randn(40, 16), "attention_mask": torch.ones(40, 3)}
    candidates = {
        bits: {
            name: rounded(model.get_submodule(name).weight.detach(), Granularity(bits, 8)) for name in ("idle", "busy")
        }
        for bits in BITS
    }
    found = measure_sensitivity(model, candidates, [batch], SilentReporter())
    for bits in (4, 3, 2):
        assert found["busy"][bits] > 10 * found["idle"][bits]
    assert found["busy"][2] > found["busy"][3] > found["busy"][4] >= found["busy"][8]
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
