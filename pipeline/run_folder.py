"""The names of the files in a run folder."""

CONFIG = "config.yaml"
"""The recipe in a run folder, which is that of the run, resolved."""


SUMMARY, MODEL = "summary.json", "model.safetensors"
