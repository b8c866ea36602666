"""Repair: closed-form re-fitting of a cut model, bottom-up."""
