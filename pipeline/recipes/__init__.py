"""Built-in recipes: the complete settings of a method on a data set, one YAML file each; no code lives here.

`pipeline/config/recipes.py` reads them. The key `about` says where a recipe comes from, what to expect of it, what was
measured, and how it deviates from its source; `pipeline/config/about.py` defines it, and `smpl list recipes` prints it.
"""
