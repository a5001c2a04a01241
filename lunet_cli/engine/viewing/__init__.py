"""What there is to look at: cases, volumes, histories of trainings, networks among others."""
