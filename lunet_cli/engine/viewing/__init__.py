"""What there is to look at: cases with their predictions, volumes, courses of trainings, networks among others."""
