"""Read pickles of plain data and NumPy arrays; every other global is refused before it is imported."""

import io
import pickle
from typing import Any

import numpy as np

from data_prep.system.errors import DataError

_reconstruct: Any = np.zeros(0).__reduce__()[0]  # its module depends on NumPy's version


def _encode(text: str, encoding: str) -> bytes:
    """Restore bytes, which Python 3 writes into a protocol 2 pickle as latin-1 text; refuse any other codec."""
    if encoding != "latin1":
        raise DataError(f"refused codec {encoding!r}")
    return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise DataError(f"refused global {module}.{name}: only NumPy arrays are allowed") from None


def unpickle_arrays(content: bytes, name: str) -> dict[str, Any]:
    """Unpickle a dictionary of arrays, lists and strings (Python 2's as latin-1). Raises DataError."""
    try:
        result = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{name}: not a readable pickle ({type(error).__name__}: {error})") from None
    if not isinstance(result, dict):
        raise DataError(f"{name}: holds a {type(result).__name__}, not a dictionary")
    return result
