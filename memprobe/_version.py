"""The version: the one place for the Python files, the extension and the package."""

__version__ = "0.1.0"
