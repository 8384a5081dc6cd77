"""Fine-tuning from a recipe: model, data, the training loops, and a run from start to end."""

from .diagnosis import diagnose
from .evaluation import evaluate
from .processes import end_processes
from .recipe import Recipe
from .recipe_file import check_recipe, read_recipe, write_recipe
from .results import ConfigResult, Summary
from .resume import has_checkpoint
from .run import finetune
from .run_directory import output_directory

__all__ = [
    "ConfigResult",
    "Recipe",
    "Summary",
    "check_recipe",
    "diagnose",
    "end_processes",
    "evaluate",
    "finetune",
    "has_checkpoint",
    "output_directory",
    "read_recipe",
    "write_recipe",
]
