"""Networks of transformers, made from sizes; nothing is downloaded."""

from __future__ import annotations

from ..catalogue import Catalogue
from . import audio, mixed, text, vision

TRANSFORMERS = Catalogue(
    name="transformers",
    module="transformers",
    distribution="transformers",
    networks={**text.NETWORKS, **vision.NETWORKS, **audio.NETWORKS, **mixed.NETWORKS},
)
