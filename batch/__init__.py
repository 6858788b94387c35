"""The batch engine: plans, transforms, checks and adds up; pure functions over columns."""
