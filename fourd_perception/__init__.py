"""A robot understands point-cloud video: actions and segmentation from a depth camera's stream."""

__version__ = "0.1.0"
