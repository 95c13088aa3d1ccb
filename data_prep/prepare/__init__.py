"""From a source to a prepared set: the request, the plan, the shards, the manifest, and conversion to RecordIO.

It may import every other folder of the package. Only the commands, and trainings that prepare their data first, import
it.
"""
