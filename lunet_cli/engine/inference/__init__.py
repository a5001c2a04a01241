"""Running a trained network on volumes of any size."""
