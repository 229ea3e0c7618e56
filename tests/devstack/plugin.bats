#!/usr/bin/env bats
# The devstack plug-in, sourced in devstack's phases with stand-ins for devstack's functions and for
# the programs that it calls. The stand-ins do what devstack's do to files, and refuse the rest.

setup() {
    REPOSITORY="$(cd "$BATS_TEST_DIRNAME/../.." && pwd)"
    export REPOSITORY DEST="$BATS_TEST_TMPDIR/dest" DATA_DIR="$BATS_TEST_TMPDIR/data"
    export ZAQAR_CONF="$BATS_TEST_TMPDIR/zaqar.conf" HEAT_CONF="$BATS_TEST_TMPDIR/heat.conf"
    export CALLS="$BATS_TEST_TMPDIR/calls" ENDPOINTS="$BATS_TEST_TMPDIR/endpoints"
    export STUBS="$BATS_TEST_DIRNAME/devstack-functions.bash"
    export PATH="$BATS_TEST_TMPDIR/bin:$PATH"
    mkdir -p "$BATS_TEST_TMPDIR/bin" "$DEST"
    ln -s "$REPOSITORY" "$DEST/heat-config-zaqar"
    printf '[drivers]\ntransport = websocket\n' > "$ZAQAR_CONF"
    printf '[DEFAULT]\n' > "$HEAT_CONF"
    printf 'a1 http://10.0.0.1:9000\nb2 https://10.0.0.1:9000\nc3 ws://10.0.0.1:9000\n' > "$ENDPOINTS"
    : > "$CALLS"
}

# phase PLUGINS PHASE... : what stack.sh does, with the plug-ins that local.conf enables.
phase() {
    # shellcheck disable=SC2016 # the inner shell expands it
    bash -c '
        set -o errexit
        DEVSTACK_PLUGINS=$1; shift
        source "$STUBS"
        source "$REPOSITORY/devstack/settings"
        source "$REPOSITORY/devstack/plugin.sh" "$@"
    ' bash "$@"
}

option() {
    python3 -c 'import configparser, sys
known = configparser.ConfigParser(interpolation=None)
known.read(sys.argv[1])
print(known.get(sys.argv[2], sys.argv[3], fallback=""))' "$@"
}

# program NAME [LINES]: a program that records its call, and then does the lines.
program() {
    # shellcheck disable=SC2016 # the program expands it
    printf '#!/bin/bash\nprintf "%%s %%s\\n" "%s" "$*" >> "$CALLS"\n%s\n' "$1" "${2:-}" \
        > "$BATS_TEST_TMPDIR/bin/$1"
    chmod +x "$BATS_TEST_TMPDIR/bin/$1"
}

@test "without Zaqar's and Heat's plug-ins before it, stack.sh ends with what to enable" {
    run phase heat,heat-config-zaqar stack pre-install
    [ "$status" -ne 0 ]
    [[ $output == *"enable the plug-ins zaqar and heat before it"* ]]
}

@test "what disk-image-create needs is installed, but not for an image that is taken" {
    phase zaqar,heat,heat-config-zaqar stack pre-install
    grep -q "install_package .*debootstrap.*qemu-utils" "$CALLS"
    : > "$CALLS"
    HEAT_CONFIG_ZAQAR_IMAGE=/guest.qcow2 phase zaqar,heat,heat-config-zaqar stack pre-install
    [ "$(grep -c install_package "$CALLS")" -eq 0 ]
}

@test "Zaqar notifies its WebSocket server, and what its plug-in wrote stays" {
    phase zaqar,heat,heat-config-zaqar stack post-config
    [ "$(option "$ZAQAR_CONF" storage message_pipeline)" = zaqar.notification.notifier ]
    [ "$(option "$ZAQAR_CONF" drivers:transport:websocket notification_bind)" = 10.0.0.1 ]
    [ "$(option "$ZAQAR_CONF" drivers:transport:websocket notification_port)" = 9001 ]
    [ "$(option "$ZAQAR_CONF" drivers transport)" = websocket ]
}

@test "the catalog's WebSocket endpoints become ws and wss, and the right ones are left alone" {
    phase zaqar,heat,heat-config-zaqar stack post-config
    [ "$(cat "$ENDPOINTS")" = "$(printf 'a1 ws://10.0.0.1:9000\nb2 wss://10.0.0.1:9000\nc3 ws://10.0.0.1:9000')" ]
}

@test "Heat is left alone unless its plug-in is asked for" {
    phase zaqar,heat,heat-config-zaqar stack post-config
    [ -z "$(option "$HEAT_CONF" DEFAULT plugin_dirs)" ]
}

@test "Heat's plug-in comes after the folders that Heat looks into anyway" {
    HEAT_CONFIG_ZAQAR_HEAT_PLUGIN=True phase zaqar,heat,heat-config-zaqar stack post-config
    [ "$(option "$HEAT_CONF" DEFAULT plugin_dirs)" = \
        "/usr/lib64/heat,/usr/lib/heat,/usr/local/lib/heat,$DEST/heat-config-zaqar/heat-plugin" ]
}

@test "Heat's plug-in comes once, after those that local.conf enabled" {
    printf '[DEFAULT]\nplugin_dirs = /opt/plugins\n' > "$HEAT_CONF"
    HEAT_CONFIG_ZAQAR_HEAT_PLUGIN=True phase zaqar,heat,heat-config-zaqar stack post-config
    HEAT_CONFIG_ZAQAR_HEAT_PLUGIN=True phase zaqar,heat,heat-config-zaqar stack post-config
    [ "$(option "$HEAT_CONF" DEFAULT plugin_dirs)" = \
        "/opt/plugins,$DEST/heat-config-zaqar/heat-plugin" ]
}

@test "an image that is given is uploaded, and none is built" {
    program disk-image-create
    HEAT_CONFIG_ZAQAR_IMAGE=/images/guest.qcow2 phase zaqar,heat,heat-config-zaqar stack extra
    [ "$(cat "$CALLS")" = "upload_image file:///images/guest.qcow2" ]
}

@test "an image is built by this checkout's elements once, and uploaded each time" {
    # A real virtual environment would ask the package index.
    # shellcheck disable=SC2016 # the program expands it
    program python3 'mkdir -p "$3/bin" && ln -sf "$(type -P pip)" "$3/bin/pip" &&
ln -sf "$(type -P heat-config-zaqar-elements)" "$3/bin/heat-config-zaqar-elements"'
    program pip
    program heat-config-zaqar-elements 'echo /the/elements'
    # shellcheck disable=SC2016 # the program expands it
    program disk-image-create 'echo "$ELEMENTS_PATH $DIB_RELEASE" >> "$CALLS"; touch "$2.qcow2"'
    phase zaqar,heat,heat-config-zaqar stack extra
    phase zaqar,heat,heat-config-zaqar stack extra
    image=$DATA_DIR/heat-config-zaqar/heat-config-zaqar
    grep -qx "pip install --quiet $DEST/heat-config-zaqar" "$CALLS"
    grep -qx "disk-image-create -o $image debian-minimal vm cloud-init heat-config-zaqar" "$CALLS"
    grep -qx "/the/elements bookworm" "$CALLS"
    [ "$(grep -c ^disk-image-create "$CALLS")" -eq 1 ]
    [ "$(grep -cx "upload_image file://$image.qcow2" "$CALLS")" -eq 2 ]
}

@test "a build that fails ends stack.sh before anything is uploaded" {
    program python3 'exit 1'
    run phase zaqar,heat,heat-config-zaqar stack extra
    [ "$status" -ne 0 ]
    [ "$(grep -c upload_image "$CALLS")" -eq 0 ]
}

@test "clean.sh removes what was built, and unstack.sh does not" {
    mkdir -p "$DATA_DIR/heat-config-zaqar"
    phase zaqar,heat,heat-config-zaqar unstack
    [ -d "$DATA_DIR/heat-config-zaqar" ]
    phase zaqar,heat,heat-config-zaqar clean
    [ ! -e "$DATA_DIR/heat-config-zaqar" ]
}
