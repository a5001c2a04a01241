"""`python -m lunet_cli` is `lunet`, for launchers that want a module, such as torchrun."""

from lunet_cli.cli.app import main

if __name__ == "__main__":
    main()
