"""Budgeted architecture search for light-weight semantic segmentation."""

__version__ = "0.1.0"
