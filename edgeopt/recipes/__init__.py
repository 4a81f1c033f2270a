"""Recipes: named lists of passes with their settings, as TOML files; ``edgeopt.recipes.recipe`` reads them."""
