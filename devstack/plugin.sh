#!/bin/bash
# devstack sources this in each of its phases, after the plug-ins that were enabled before it:
# Zaqar and Heat are configured then, and not started yet.

function build_heat_config_zaqar_image {
    local image=$HEAT_CONFIG_ZAQAR_DATA_DIR/heat-config-zaqar venv=$HEAT_CONFIG_ZAQAR_DATA_DIR/venv
    [[ ! -e $image.qcow2 ]] || return 0
    mkdir -p "$HEAT_CONFIG_ZAQAR_DATA_DIR"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "$HEAT_CONFIG_ZAQAR_DIR"
    # shellcheck disable=SC2086 # one word for each element
    PATH="$venv/bin:$PATH" DIB_RELEASE=$HEAT_CONFIG_ZAQAR_RELEASE \
        ELEMENTS_PATH=$("$venv/bin/heat-config-zaqar-elements") \
        disk-image-create -o "$image" $HEAT_CONFIG_ZAQAR_ELEMENTS
}

# Zaqar tells its WebSocket server of each message, at an address that both reach.
function configure_zaqar_for_heat_config {
    iniset "$ZAQAR_CONF" storage message_pipeline zaqar.notification.notifier
    iniset "$ZAQAR_CONF" drivers:transport:websocket notification_bind "$ZAQAR_SERVICE_HOST"
    iniset "$ZAQAR_CONF" drivers:transport:websocket notification_port \
        "$HEAT_CONFIG_ZAQAR_NOTIFICATION_PORT"
}

# Zaqar's own plug-in registers its WebSocket as http://; a client needs to see ws://.
function set_zaqar_websocket_endpoints {
    local id url
    while read -r id url; do
        [[ $url != http* ]] ||
            openstack --os-cloud devstack-system-admin endpoint set --url "ws${url#http}" "$id"
    done < <(openstack --os-cloud devstack-system-admin endpoint list \
        --service messaging-websocket -f value -c ID -c URL)
}

function configure_heat_for_heat_config {
    local known
    known=$(iniget "$HEAT_CONF" DEFAULT plugin_dirs)
    [[ ,$known, != *,$HEAT_CONFIG_ZAQAR_DIR/heat-plugin,* ]] || return 0
    iniset "$HEAT_CONF" DEFAULT plugin_dirs \
        "${known:-/usr/lib64/heat,/usr/lib/heat,/usr/local/lib/heat},$HEAT_CONFIG_ZAQAR_DIR/heat-plugin"
}

case "$1 ${2:-}" in
    "stack pre-install")
        if ! is_plugin_enabled zaqar || ! is_plugin_enabled heat; then
            die $LINENO "heat-config-zaqar: enable the plug-ins zaqar and heat before it"
        fi
        [[ -n $HEAT_CONFIG_ZAQAR_IMAGE ]] || install_package "${HEAT_CONFIG_ZAQAR_PACKAGES[@]}"
        ;;
    "stack post-config")
        echo_summary "Configuring Zaqar and Heat for heat-config-zaqar"
        configure_zaqar_for_heat_config
        set_zaqar_websocket_endpoints
        [[ $HEAT_CONFIG_ZAQAR_HEAT_PLUGIN != True ]] || configure_heat_for_heat_config
        ;;
    "stack extra")
        echo_summary "Uploading an image with heat-config-zaqar"
        [[ -n $HEAT_CONFIG_ZAQAR_IMAGE ]] || build_heat_config_zaqar_image
        upload_image "file://${HEAT_CONFIG_ZAQAR_IMAGE:-$HEAT_CONFIG_ZAQAR_DATA_DIR/heat-config-zaqar.qcow2}"
        ;;
    "clean ")
        rm -rf "$HEAT_CONFIG_ZAQAR_DATA_DIR"
        ;;
esac
