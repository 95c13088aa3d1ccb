"""Turn raw image data sets into checked, shardable training sets. Needs no torch."""
