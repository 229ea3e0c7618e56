#!/usr/bin/env bats
# `pip install .`, as README's pipeline calls it, from trees in the states in which people have them.

load helpers

SCRIPTS=heat_config_zaqar_elements/elements/os-collect-config-zaqar/install.d

setup() {
    # A tree as a tarball unpacks it: without git.
    tree="$BATS_TEST_TMPDIR/tree"
    mkdir "$tree"
    (cd "$REPOSITORY" && git ls-files -z --cached --others --exclude-standard |
        xargs -0 cp --parents -t "$tree")
    rm -f "$tree/hooks/version.txt"
}

# install DIRECTORY [COMMAND...] : pip install . there, by way of a command.
install() {
    cd "$1" || return
    shift
    rm -rf "$BATS_TEST_TMPDIR/installed"
    run "$@" python3 -m pip install --quiet --no-deps --target "$BATS_TEST_TMPDIR/installed" .
    [ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
    cd "$BATS_TEST_TMPDIR/installed" || return
    version="$(cat heat_config_zaqar_elements/hooks/version.txt)"
}

committed() {
    cd "$tree" || return
    git init -q
    git add -A
    git -c user.name=test -c user.email=test@example.com commit -qm test
    git tag 1.2.3
}

@test "an unpacked tarball installs, and the guest's version names its source" {
    install "$tree"
    [ "$version" = 0+source ]
    [ -x "$SCRIPTS/55-os-collect-config-zaqar-venv" ]
    run python3 -c "import sys; sys.path.insert(0, sys.argv[1]); import stage_wheels, pathlib
print(stage_wheels.version_of(pathlib.Path(sys.argv[2]), 'digest'))" \
        "$REPOSITORY/elements/os-collect-config-zaqar/$BUILD" heat_config_zaqar_elements/hooks
    [ "$output" = 0+source.digest ]
}

@test "what was renamed between two installations is there once, and nothing stays in the tree" {
    install "$tree"
    mv "$tree/elements/os-collect-config-zaqar/install.d/55-os-collect-config-zaqar-venv" \
        "$tree/elements/os-collect-config-zaqar/install.d/56-renamed"
    install "$tree"
    [ ! -e "$SCRIPTS/55-os-collect-config-zaqar-venv" ]
    [ -e "$SCRIPTS/56-renamed" ]
    [ ! -e "$tree/build" ] && [ ! -e "$tree/hooks/version.txt" ]
}

@test "a clone has its version from git, and installs where there is no git" {
    committed
    install "$tree"
    [ "$version" = 1.2.3 ]
    mkdir "$BATS_TEST_TMPDIR/bin"
    ln -s "$(command -v python3)" "$BATS_TEST_TMPDIR/bin/python3"
    install "$tree" env PATH="$BATS_TEST_TMPDIR/bin"
    [ "$version" = 0+source ]
}

@test "a tree that cannot be written installs" {
    unshare --mount true || skip "takes the right to make a mount namespace (root)"
    # shellcheck disable=SC2016 # the inner shell expands it
    install "$tree" unshare --mount sh -c 'mount --bind "$PWD" "$PWD"
        mount -o remount,ro,bind "$PWD"; cd "$PWD"; exec "$@"' sh
    [ -x "$SCRIPTS/55-os-collect-config-zaqar-venv" ]
}
