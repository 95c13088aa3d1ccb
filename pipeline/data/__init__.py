"""From a prepared data set on disk to augmented batches on the training device.

The folders below build on one another: `sampling`, `augment`, `batches`, then the two loaders `resident` and
`streaming`. This package imports `data_prep` and `pipeline.distributed`, and neither `methods` nor `training`, which
import it.
"""
