"""Object HalBench: which objects does a detailed description name that are not in the picture?"""
