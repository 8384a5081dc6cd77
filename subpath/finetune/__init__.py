"""Fine-tuning from a recipe: model, data, the training loops, and a run from start to end."""

from .read import check_recipe, read_recipe, write_recipe
from .recipe import Recipe
from .run import ConfigResult, Summary, evaluate, finetune, output_directory

__all__ = [
    "ConfigResult",
    "Recipe",
    "Summary",
    "check_recipe",
    "evaluate",
    "finetune",
    "output_directory",
    "read_recipe",
    "write_recipe",
]
