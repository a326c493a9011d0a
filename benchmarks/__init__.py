"""What is measured, and the one command for each figure: ``python -m benchmarks.<name>``."""
