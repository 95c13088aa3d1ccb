"""What a prepared set is: its manifest, its checksums, and a local mirror of a set behind a URL.

Nothing here knows how a set is made. `inspection`, `prepare` and the packages that train import from here; this
folder imports `formats`, `storage` and `system`.
"""
