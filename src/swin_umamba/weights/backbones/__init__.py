"""The records of the backbones: one module for each family, with its records in ``RECORDS``.

Plain data without torch. The network of a family is in the module of ``models/`` that the record names.
"""
