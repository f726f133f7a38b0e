"""`tokenfuse`: one file per verb; standard output carries data only."""
