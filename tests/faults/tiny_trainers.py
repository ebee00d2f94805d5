"""An extension that makes the trainers of every process tiny which loads it."""

from faults.training_process import make_trainers_tiny

make_trainers_tiny()
