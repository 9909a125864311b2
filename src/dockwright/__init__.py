"""dockwright: a backend engineer that works in a box and hands back a proven branch."""

__version__ = "0.1.0"
