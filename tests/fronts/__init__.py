"""What stands before the real servers in tests, and does to the jobs what networks and loaded servers do."""
