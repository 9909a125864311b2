"""Sinks: what shows a session to somebody. They know the events and nothing else of dockwright."""
