"""A run in the formats of others, as folds over its journal."""
