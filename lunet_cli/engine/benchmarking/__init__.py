"""What a network costs in time."""
