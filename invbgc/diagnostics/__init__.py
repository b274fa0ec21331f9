"""What a fitted state says: exports, inventories and budgets."""
