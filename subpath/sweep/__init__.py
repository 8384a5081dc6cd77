"""Examine every network of a library: is it converted, and is the result the same network?"""
