"""What a run is: the schema of its configuration, recipes, and how flags, recipe and defaults become one value.

This folder imports the registries of methods and models, never `training`.
"""
