"""One module per command of `python -m semimoe`, each with a function `run(arguments)`."""
