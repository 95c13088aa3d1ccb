"""Reading official archives safely: tars inside tars, member names, and pickles without executing them.

This folder imports only `storage` and `system`; the sources import it.
"""
