"""Many trainings: what each is asked to do, who works on it, and what all of them have found."""
