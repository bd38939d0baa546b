"""The table of methods: its rows, recipes and cells, their processes, and what is written."""
