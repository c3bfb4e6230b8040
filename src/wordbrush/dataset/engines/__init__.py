"""What makes the units of a stage: this process, or a pool of Ray actors. Both write the same bytes."""
