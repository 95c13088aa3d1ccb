"""Bytes from elsewhere: URLs without their secrets, transfers that resume, and checked downloads.

This folder imports only `system`.
"""
