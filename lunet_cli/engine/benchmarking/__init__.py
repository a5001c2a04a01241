"""What a network costs and how fast it runs."""
