#!/usr/bin/env bats
# What runs on the build host: the judging of variables, and the staging.

load helpers

setup_file() {
    dib_environment
    merge "$BATS_FILE_TMPDIR/hooks" heat-config-zaqar debian-minimal > /dev/null
}

setup() {
    dib_environment
    cp -R "$BATS_FILE_TMPDIR/hooks" "$BATS_TEST_TMPDIR/hooks"
    check="$BATS_TEST_TMPDIR/hooks/root.d/00-os-collect-config-zaqar-check"
    stage="$BATS_TEST_TMPDIR/hooks/extra-data.d/60-os-collect-config-zaqar-stage"
    settings="$BATS_TEST_TMPDIR/hooks/$BUILD/settings"
}

one_line() {
    [ "$status" -eq 1 ]
    [ "${#lines[@]}" -eq 1 ] || { echo "not one line: $output" >&2; return 1; }
    [[ "${lines[0]}" == *"$1"* ]] || { echo "got: ${lines[0]}" >&2; return 1; }
}

value_of() {
    python3 -c 'import sys, tomllib
print(repr(tomllib.load(open(sys.argv[1], "rb")).get(sys.argv[2])))' "$settings/settings.toml" "$1"
}

@test "diskimage-builder resolves an element that needs upstream's names with this set" {
    mkdir -p "$BATS_TEST_TMPDIR/more/heat-config-thing"
    echo heat-config > "$BATS_TEST_TMPDIR/more/heat-config-thing/element-deps"
    echo os-refresh-config >> "$BATS_TEST_TMPDIR/more/heat-config-thing/element-deps"
    ELEMENTS_PATH="$ELEMENTS_PATH:$BATS_TEST_TMPDIR/more" run python3 \
        "$DIB_LIB/element-info.py" debian-minimal heat-config-zaqar heat-config-thing
    [ "$status" -eq 0 ]
    [[ " $output " == *" os-collect-config-zaqar "* ]]
}

@test "with no variable set the guest's settings are the package's defaults" {
    run "$check"
    [ "$status" -eq 0 ]
    run value_of max_attempts
    [ "$output" = None ]
}

@test "variables become settings of the right type" {
    export DIB_HEAT_CONFIG_ZAQAR_MAX_ATTEMPTS=5 DIB_HEAT_CONFIG_ZAQAR_INSECURE=no
    export DIB_HEAT_CONFIG_ZAQAR_HOOK_TIMEOUT=0900 DIB_HEAT_CONFIG_ZAQAR_POLL_INTERVAL=30
    export DIB_HEAT_CONFIG_ZAQAR_PUSH=false DIB_HEAT_CONFIG_ZAQAR_PROGRESS_LINE=off
    run "$check"
    [ "$status" -eq 0 ]
    [ "$(value_of max_attempts)" = 5 ]
    [ "$(value_of progress_line)" = False ]
    [ "$(value_of insecure)" = False ]
    [ "$(value_of hook_timeout)" = 900 ]
    [ "$(value_of poll_interval)" = 30 ]
    [ "$(value_of push)" = False ]
}

@test "a private CA is taken along and named in the settings" {
    export DIB_HEAT_CONFIG_ZAQAR_CA_FILE="$BATS_TEST_TMPDIR/private ca.pem"
    openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -days 1 \
        -subj /CN=test -out "$DIB_HEAT_CONFIG_ZAQAR_CA_FILE" 2> /dev/null
    run "$check"
    [ "$status" -eq 0 ]
    [ "$(value_of ca_file)" = "'/etc/heat-config-zaqar/ca.pem'" ]
    cmp "$DIB_HEAT_CONFIG_ZAQAR_CA_FILE" "$settings/ca.pem"
}

@test "a CA file without a certificate stops the build" {
    echo nothing > "$BATS_TEST_TMPDIR/empty.pem"
    DIB_HEAT_CONFIG_ZAQAR_CA_FILE="$BATS_TEST_TMPDIR/empty.pem" run "$check"
    one_line "holds no certificate in PEM form"
}

@test "a CA file that is not there stops the build" {
    DIB_HEAT_CONFIG_ZAQAR_CA_FILE=/nowhere.pem run "$check"
    one_line "DIB_HEAT_CONFIG_ZAQAR_CA_FILE is '/nowhere.pem', which is no file"
}

@test "no attempt at all stops the build" {
    DIB_HEAT_CONFIG_ZAQAR_MAX_ATTEMPTS=0 run "$check"
    one_line "DIB_HEAT_CONFIG_ZAQAR_MAX_ATTEMPTS is '0'"
}

@test "a timeout that is no number stops the build" {
    DIB_HEAT_CONFIG_ZAQAR_HOOK_TIMEOUT=1h run "$check"
    one_line "is not a whole number from 0 to"
}

@test "an interval that the guest would refuse stops the build" {
    DIB_HEAT_CONFIG_ZAQAR_POLL_INTERVAL=86400 run "$check"
    one_line "is not a whole number from 1 to 1800"
}

@test "a proxy and the hosts that need none become settings" {
    export DIB_HEAT_CONFIG_ZAQAR_PROXY=http://proxy.example:3128
    export DIB_HEAT_CONFIG_ZAQAR_NO_PROXY="10.0.0.0/8, .example.org"
    run "$check"
    [ "$status" -eq 0 ]
    [ "$(value_of proxy)" = "'http://proxy.example:3128'" ]
    [ "$(value_of no_proxy)" = "'10.0.0.0/8, .example.org'" ]
}

@test "a proxy that is no address stops the build" {
    DIB_HEAT_CONFIG_ZAQAR_PROXY=proxy.example:3128 run "$check"
    one_line "is not like http://proxy.example:3128"
}

@test "the console is a device or off" {
    DIB_HEAT_CONFIG_ZAQAR_CONSOLE=/dev/ttyS1 run "$check"
    [ "$(value_of console)" = "'/dev/ttyS1'" ]
    DIB_HEAT_CONFIG_ZAQAR_CONSOLE=off run "$check"
    [ "$(value_of console)" = "''" ]
    DIB_HEAT_CONFIG_ZAQAR_CONSOLE=ttyS1 run "$check"
    one_line "DIB_HEAT_CONFIG_ZAQAR_CONSOLE is 'ttyS1', which is neither like"
}

@test "a switch that is neither true nor false stops the build" {
    DIB_HEAT_CONFIG_ZAQAR_INSECURE=perhaps run "$check"
    one_line "is neither true nor false"
}

@test "an unknown Python version stops the build" {
    DIB_HEAT_CONFIG_ZAQAR_PYTHONS="3.11 3.9" run "$check"
    one_line "names '3.9'"
}

@test "an architecture without wheels stops the build" {
    ARCH=armhf run "$check"
    one_line "no wheels for ARCH 'armhf'"
}

@test "another init system stops the build" {
    DIB_INIT_SYSTEM=openrc run "$check"
    one_line "needs systemd"
}

@test "elements without hooks beside them stop the build" {
    mkdir "$BATS_TEST_TMPDIR/copy"
    cp -R "$REPOSITORY/elements" "$BATS_TEST_TMPDIR/copy/"
    ELEMENTS_PATH="${ELEMENTS_PATH/"$REPOSITORY"/"$BATS_TEST_TMPDIR/copy"}" \
        merge "$BATS_TEST_TMPDIR/other" heat-config-zaqar debian-minimal > /dev/null
    run "$BATS_TEST_TMPDIR/other/root.d/00-os-collect-config-zaqar-check"
    one_line "with hooks/ beside it"
}

@test "an offline build without a cache says what to do" {
    DIB_OFFLINE=1 DIB_IMAGE_CACHE="$BATS_TEST_TMPDIR/empty" run "$stage"
    one_line "build once without --offline"
}

@test "a second build is served from the cache, offline" {
    "$stage"
    rm -r "$BATS_TEST_TMPDIR/hooks/$BUILD/package"
    DIB_OFFLINE=1 PATH="$BATS_TEST_TMPDIR:$PATH" run "$stage"
    [ "$status" -eq 0 ]
    ls "$BATS_TEST_TMPDIR/hooks/$BUILD"/package/heat_config_zaqar*.whl
    ls "$BATS_TEST_TMPDIR/hooks/$BUILD/wheels/cp$(python_here | tr -d .)"/os_collect_config*.whl
}

# stage_copy DIRECTORY : stage from a copy of elements/ and hooks/, with a cache of its own.
stage_copy() {
    mkdir -p "$1"
    cp -R "$REPOSITORY/elements" "$REPOSITORY/hooks" "$1/"
    rm -f "$1/hooks/version.txt"
    [ -z "${2:-}" ] || echo "$2" > "$1/hooks/version.txt"
    cp -R "${DIB_IMAGE_CACHE}/heat-config-zaqar" "$1/heat-config-zaqar"
    rm -r "$1/heat-config-zaqar/package"
    ELEMENTS_PATH="${ELEMENTS_PATH/"$REPOSITORY"/"$1"}" \
        merge "$1/merged" heat-config-zaqar debian-minimal > /dev/null
    DIB_IMAGE_CACHE="$1" "$1/merged/extra-data.d/60-os-collect-config-zaqar-stage"
    packages=("$1/merged/$BUILD/package"/*.whl)
}

@test "two builds of the guest package are the same to the last byte" {
    "$stage" # fills the cache of wheels
    stage_copy "$BATS_TEST_TMPDIR/one"
    one="${packages[0]}"
    stage_copy "$BATS_TEST_TMPDIR/two"
    [ "$(basename "$one")" = "$(basename "${packages[0]}")" ]
    [[ "$one" == *heat_config_zaqar_guest-0+source.* ]]
    cmp "$one" "${packages[0]}"
}

@test "the guest's version is that of the release that was installed" {
    "$stage"
    stage_copy "$BATS_TEST_TMPDIR/installed" 1.2.3
    [[ "${packages[0]}" == */heat_config_zaqar_guest-1.2.3-py3-none-any.whl ]]
}
