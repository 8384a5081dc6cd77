"""The list of tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import create_model

from ..recipe import DataSection, Recipe
from ..section import Section
from .base import Task
from .boxes import BoxesSection
from .labelled import LabelledTextSection
from .masks import MasksSection
from .text import TextSection


@dataclass(frozen=True)
class Entry:
    """A task by its parts, which are loaded when they are asked for.

    Attributes:
        data: the section of the recipe that tells what is learned from.
        open: opens the data of a recipe.
    """

    data: type[Section]
    open: Callable[[Recipe], Task]


def _image_classification(recipe: Recipe) -> Task:
    from .classification import ImageClassification

    return ImageClassification.open(recipe)


def _language_modelling(recipe: Recipe) -> Task:
    from .language import LanguageModelling

    return LanguageModelling.open(recipe)


def _semantic_segmentation(recipe: Recipe) -> Task:
    from .segmentation import SemanticSegmentation

    return SemanticSegmentation.open(recipe)


def _object_detection(recipe: Recipe) -> Task:
    from .detection import ObjectDetection

    return ObjectDetection.open(recipe)


def _text_classification(recipe: Recipe) -> Task:
    from .sentences import TextClassification

    return TextClassification.open(recipe)


TASKS: dict[str, Entry] = {
    "image_classification": Entry(DataSection, _image_classification),
    "language_modelling": Entry(TextSection, _language_modelling),
    "object_detection": Entry(BoxesSection, _object_detection),
    "semantic_segmentation": Entry(MasksSection, _semantic_segmentation),
    "text_classification": Entry(LabelledTextSection, _text_classification),
}


def open_task(recipe: Recipe) -> Task:
    """The task of a recipe, its data opened.

    Raises:
        DataError: the data is not there, or not as it should be.
    """
    return TASKS[recipe.task].open(recipe)


@cache
def recipe_class(task: str) -> type[Recipe]:
    """A recipe whose ``data`` is what the task takes."""
    data = TASKS[task].data
    if data is DataSection:
        return Recipe
    fields: dict[str, Any] = {"data": (data, ...)}
    return create_model("Recipe", __base__=Recipe, **fields)
