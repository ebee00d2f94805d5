"""What a run resumes from."""
