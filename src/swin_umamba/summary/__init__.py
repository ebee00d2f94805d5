"""What a run or an evaluation left behind, collected for a report."""
