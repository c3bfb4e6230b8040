"""Measuring methods that edit pictures: data sets as examples, methods, measures, and the curves that they make."""
