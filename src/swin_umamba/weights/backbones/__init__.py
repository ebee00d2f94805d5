"""The records of the backbones: one module per family, with its records in ``RECORDS``.

Plain data without torch. A family's network is in the module of ``models/`` that the record names.
"""
