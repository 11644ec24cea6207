"""Warnings are errors in the processes that tests start, as in the tests: `filterwarnings` in pyproject.toml."""

WARNINGS = "error,ignore:You are using a Python version:FutureWarning:google.api_core._python_version_support"
"""For PYTHONWARNINGS. What is ignored begins up to a year before a Python's end of support, by the day."""
