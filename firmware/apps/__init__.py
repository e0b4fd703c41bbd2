"""Small programs to copy and change: `config.json` names the one that runs."""
