"""Which library has an architecture, so that an error line can say how to name it."""

from importlib.util import find_spec


def library_of(architecture: str) -> str | None:
    """Return the model name, torchvision or timm, under which an architecture is found; None if neither has it."""
    import torchvision  # noqa: PLC0415

    if architecture in torchvision.models.list_models(module=torchvision.models):
        return "torchvision"
    if find_spec("timm"):
        import timm  # noqa: PLC0415

        if timm.is_model(architecture):
            return "timm"
    return None
