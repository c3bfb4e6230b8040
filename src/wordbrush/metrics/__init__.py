"""Measures of pictures and pairs of pictures: one file each, used by filters and by evaluation alike."""
