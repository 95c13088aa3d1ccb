"""Type aliases that several folders share."""

import numpy as np
from numpy.typing import NDArray

Option = int | bool | str


Labels = NDArray[np.int64]
