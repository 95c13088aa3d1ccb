"""Type aliases that several folders share."""

import numpy as np
from numpy.typing import NDArray

Option = int | bool | str
"""The value of an option of a preparation, as the manifest stores it."""

Labels = NDArray[np.int64]
"""Labels or indices of samples."""
