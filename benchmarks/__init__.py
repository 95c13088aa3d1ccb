"""What is measured, and how; results are kept as JSON in ``benchmarks/results``."""
