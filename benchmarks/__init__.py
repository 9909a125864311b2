"""What dockwright costs, beside what it stands in for, measured side by side in one run."""
