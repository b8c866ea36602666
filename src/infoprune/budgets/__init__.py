"""Budgets: costs of sizes, and how many units every site keeps."""
