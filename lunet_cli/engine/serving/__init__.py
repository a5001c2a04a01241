"""A warm process for many scans: jobs, their queue, their files, and the drop folder."""
