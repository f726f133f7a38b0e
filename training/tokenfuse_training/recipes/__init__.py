"""Named training recipes; each is data, the trainer is one."""

from tokenfuse_training.recipes.recipe import Recipe, Stage
from tokenfuse_training.recipes.scenes_nano import SCENES_NANO

__all__ = ["RECIPES", "Recipe", "Stage"]

RECIPES = {SCENES_NANO.name: SCENES_NANO}
