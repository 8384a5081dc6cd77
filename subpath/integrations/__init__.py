"""Trainers of other libraries, whose step becomes the two passes."""
