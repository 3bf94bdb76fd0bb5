"""From rows to arms, and from arms to their comparison."""
