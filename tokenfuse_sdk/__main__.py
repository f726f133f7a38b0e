"""`python -m tokenfuse_sdk` is `tokenfuse`."""

from tokenfuse_sdk.cli.main import main

if __name__ == "__main__":
    main()
