"""Recipes: complete settings for a method on a data set, a YAML file each. `pipeline/config/recipes.py` reads them."""
