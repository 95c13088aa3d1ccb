"""Read pixels at computed places: the one gather under every crop, flip and affine map."""

import torch.nn.functional as F
from torch import Tensor


def pick(images: Tensor, rows: Tensor, columns: Tensor, fill: int) -> Tensor:
    """Return uint8 [B, C, H, W] whose pixel (y, x) is the source's (rows, columns) there.

    A frame of ``fill``, one pixel wide, catches every place outside of the image.

    Args:
        images: uint8 [B, C, H, W].
        rows: int32, broadcastable to [B, H, W]: pixels from the top, of any value.
        columns: likewise, from the left.
        fill: gray level of what lies outside.
    """
    height, width = images.shape[-2:]
    framed = F.pad(images, (1, 1, 1, 1), value=fill).flatten(2)
    row, column = rows.clamp(-1, height) + 1, columns.clamp(-1, width) + 1
    index = (row * (width + 2) + column).flatten(1).long()
    return framed.gather(2, index[:, None].expand(-1, images.shape[1], -1)).view(images.shape)
