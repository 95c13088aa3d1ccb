"""What a run is: the schema of its configuration, and how defaults, a recipe and the command line become one value.

`data_set.py` also finds the prepared set that the configuration names. This folder imports `methods`, `models` and
`data`, never `training`; training and the commands import it.
"""
