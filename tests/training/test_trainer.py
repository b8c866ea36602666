import torch
from torch import nn
from torch.testing import assert_close

from infoprune.training.trainer import Group, TrainingSettings, train


class Slope(nn.Module):
    """A loss with the slope 1 in three numbers, so that every step of Adam is as long as its rate."""

    def __init__(self):
        super().__init__()
        self.own, self.apart, self.above = (nn.Parameter(torch.full((2,), 5.0)) for _ in range(3))

    def forward(self, x):
        return {"loss": x.mean() * (self.own + self.apart + self.above).sum()}


def collate(examples):
    return {"x": torch.tensor([example["x"] for example in examples])}


def moved(groups_of, steps=20):
    model = Slope()
    settings = TrainingSettings(steps, 1e-3, 1, bf16=False)
    train(model, [{"x": 1.0}] * steps, collate, settings, groups=groups_of(model))
    return [float((parameter.detach() - 5).mean()) for parameter in (model.own, model.apart, model.above)]


def test_groups_have_their_own_rate_and_direction_and_no_decay():
    own, *_ = moved(lambda model: ())
    again, apart, above = moved(lambda model: (Group((model.apart,), 1e-2), Group((model.above,), 2e-2, uphill=True)))
    assert again == own, "what is in no group is trained as before"
    # warm-up over 2 steps (0, 1/2), then from 1 to 0 in a line over 18
    travelled = 0.5 + sum((20 - step) / 18 for step in range(2, 20))
    assert_close((apart, above), (-1e-2 * travelled, 2e-2 * travelled), rtol=1e-4, atol=0)
    assert own < -1e-3 * travelled - 1e-5, "decay draws the others further"
