"""Built-in recipes: the complete settings of a method on a data set, one YAML file each; no code lives here.

`pipeline/config/recipes.py` reads them.
"""
