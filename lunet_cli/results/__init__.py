"""What jobs report while they run and return at the end, one file per kind of job. No torch."""
