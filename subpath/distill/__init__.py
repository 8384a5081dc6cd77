"""Self-distillation in two passes, for any training loop (Kang and Lee, section 3.2).

A whole training run::

    model = subpath.convert(network, example)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model.train()
    for epoch in range(10):
        for images, targets in loader:
            optimiser.zero_grad()
            losses = two_pass_step(model, images, targets, F.cross_entropy)
            optimiser.step()
        print(epoch, losses.total.item())
    subpath.save(model, directory)
"""

from .averaging import average_gradients, average_statistics
from .losses import feature_loss, logits_loss, pooled
from .outputs import Classes, Embedding, Outputs, Values, outputs_of
from .step import StepLosses, distillation_pass, task_pass, two_pass_step

__all__ = [
    "Classes",
    "Embedding",
    "Outputs",
    "StepLosses",
    "Values",
    "average_gradients",
    "average_statistics",
    "distillation_pass",
    "feature_loss",
    "logits_loss",
    "outputs_of",
    "pooled",
    "task_pass",
    "two_pass_step",
]
