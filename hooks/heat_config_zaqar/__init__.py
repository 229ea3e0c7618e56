"""What a guest image runs to take Heat software-config from Zaqar and to signal the results."""


def version() -> str:
    """Return the version that is installed; `unknown` where nothing is."""
    # Which takes a hundredth of a second that no hook has to wait for.
    import importlib.metadata

    try:
        return importlib.metadata.version("heat-config-zaqar-guest")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
