#!/bin/bash
# devstack sources this in each of its phases, after the plug-ins that were enabled before it:
# Zaqar and Heat are configured then, and not started yet.

# shellcheck source=devstack/lib/heat-config-zaqar
source "$HEAT_CONFIG_ZAQAR_DIR/devstack/lib/heat-config-zaqar"

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
