"""Volumes from disk to batches: layouts, splits, preprocessing, patches, augmentation."""
