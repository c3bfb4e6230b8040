"""What an edit is, before any model is touched: prompts, alignments, windows of steps, edits and the plan."""
