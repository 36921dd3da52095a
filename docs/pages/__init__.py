"""The pages that are made from the code: `conf.py` calls these modules when Sphinx starts."""
