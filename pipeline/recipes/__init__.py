"""Recipes: complete settings for a method on a data set, one YAML file each. `pipeline/config/recipes.py` reads them."""
