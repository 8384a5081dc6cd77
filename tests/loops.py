"""A phase of training on batches that a test made, and the same loop written by hand."""

from __future__ import annotations

import math

import torch

from subpath import zoo
from subpath.finetune.config_runner import ConfigRunner
from subpath.finetune.criterion import make_criterion, make_mix
from subpath.finetune.engine import Training, distillation_learner, task_learner
from subpath.finetune.phase import OptimiserSection, PhaseSection
from subpath.finetune.processes import start_processes
from subpath.finetune.weight_updates import make_updater


class Fixed:
    """The same batches in every epoch."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def epoch(self, number, start=0):
        return iter(self.batches[start:])


def phase(epochs=2, **arguments) -> PhaseSection:
    optimiser = OptimiserSection(name="momentum", lr=0.1, weight_decay=0.01)
    return PhaseSection(**{"epochs": epochs, "batch_size": 4, "optimiser": optimiser, **arguments})


def batches(count=3, size=4):
    return [(torch.randn(size, 3, 32, 32), torch.arange(size) % 4) for _ in range(count)]


def network(name="resnet18", **arguments):
    if name == "resnet18":
        arguments = {"channels": [4, 4, 4, 4], **arguments}
    return zoo.create_model(name, num_classes=4, **arguments)


def training_of(model, phase, data, distill=None, processes=None, **how) -> Training:
    """With ``distill``, the two passes of an adaptive model; else the plain step."""
    processes = processes or start_processes("cpu")
    updater = make_updater(model, phase, len(data) // phase.accumulate, processes)
    criterion = make_criterion(phase)
    if distill is None:
        learn = task_learner(model, updater, criterion)
    else:
        student = ConfigRunner(model.train(), processes, **how)
        learn = distillation_learner(student, updater, criterion, distill)
    mix = make_mix(phase, num_classes=4)
    return Training("finetune", Fixed(data), mix, learn, updater, phase.accumulate, (0, 1))


def by_hand(model, data, gradients, schedule, lr=0.1, momentum=0.9, weight_decay=0.01):
    """SGD with momentum, weight decay on matrices and kernels alone, and a schedule by formula."""
    velocity = {}
    for step, batch in enumerate(data):
        model.zero_grad()
        gradients(model, *batch)
        with torch.no_grad():
            for name, p in model.named_parameters():
                g = p.grad + (weight_decay * p if p.ndim > 1 else 0)
                velocity[name] = momentum * velocity[name] + g if step else g
                p -= lr * schedule(step) * velocity[name]


def cosine(step, steps):
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def assert_close(model, expected, rtol=1e-4, atol=1e-6):
    state = expected.state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(
            value, state[name], rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}"
        )
