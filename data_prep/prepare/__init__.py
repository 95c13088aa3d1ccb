"""From a source to a prepared set: options, plan, shards, manifest, and conversion to RecordIO.

This is the top floor of the package: it imports every other folder, and only the command line imports it.
"""
