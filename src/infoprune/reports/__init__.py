"""Reports: what a cut cost and bought, as JSON, table, picture, page and card."""
