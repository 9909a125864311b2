"""What the project tests itself with, for its users to test with too."""
