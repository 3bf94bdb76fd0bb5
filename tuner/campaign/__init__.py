"""Who decides which training comes next, without ray."""
