"""The data sets: what they are, where they come from and how they are split.

One file a data set; each splits its classes by a file in the package, never by a directory listing.
"""

SPLITS = ("train", "val", "test")
