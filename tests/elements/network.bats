#!/usr/bin/env bats
# Who configures a guest's network: the last script of the build, run for real in a copy-on-write
# copy of this machine's root file system. Only the installation of a package is a stand-in.

load helpers

DHCP=/etc/systemd/network/95-heat-config-zaqar-dhcp.network
UNITS=(systemd-networkd.service systemd-resolved.service)

setup() {
    dib_environment
    unshare --mount true || skip "takes the right to make a mount namespace (root)"
    export BATS_FILE_TMPDIR="$BATS_TEST_TMPDIR"
    merge "$BATS_TEST_TMPDIR/hooks" heat-config-zaqar debian-minimal > /dev/null
    start_root "$BATS_TEST_TMPDIR/hooks"
    in_root systemctl disable "${UNITS[@]}" NetworkManager networking wicked 2> /dev/null || true
    in_root rm -f /etc/resolv.conf.ORIG
    stand_in install-packages
}

teardown() {
    stop_root
}

# stand_in NAME : a program that notes what it is called with, and brings resolved's unit.
stand_in() {
    in_root sh -c "cat > /usr/local/bin/$1; chmod 755 /usr/local/bin/$1" <<'SCRIPT'
#!/bin/sh
echo "$@" >> /installed
printf '[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n' \
    > /usr/lib/systemd/system/systemd-resolved.service
SCRIPT
}

# has_unit NAME : an enabled service of this name, as a package of it would bring.
has_unit() {
    in_root sh -c "printf '[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n' \
        > /usr/lib/systemd/system/$1.service"
    in_root systemctl enable "$1.service"
}

configure() {
    run in_root /tmp/in_target.d/finalise.d/60-os-collect-config-zaqar-network
    [ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
}

@test "where nobody configures the network, networkd and resolved do, by DHCP" {
    configure
    for unit in "${UNITS[@]}"; do
        [ "$(in_root systemctl is-enabled "$unit")" = enabled ]
    done
    in_root grep -qx 'DHCP=yes' "$DHCP"
    [ "$(in_root readlink /etc/resolv.conf.ORIG)" = ../run/systemd/resolve/stub-resolv.conf ]
    [ "$(in_root cat /installed)" = "-m os-collect-config-zaqar heat-config-zaqar-network" ]
}

@test "they stay enabled where the first boot applies presets that enable nothing" {
    configure
    in_root sh -c 'echo "disable *" > /usr/lib/systemd/system-preset/99-none.preset
        rm /usr/lib/systemd/system-preset/90-*; systemctl preset-all'
    for unit in "${UNITS[@]}"; do
        [ "$(in_root systemctl is-enabled "$unit")" = enabled ]
    done
}

@test "an image in which another program configures the network stays as it is" {
    for manager in NetworkManager networking wicked; do
        has_unit "$manager"
        configure
        [ "$output" = "The network is left to $manager" ]
        in_root sh -c "systemctl disable $manager; ! test -e $DHCP; ! test -e /installed"
        [ "$(in_root systemctl is-enabled systemd-networkd.service)" = disabled ]
    done
}

@test "an image with nothing that could configure the network is built, and says so" {
    in_root sh -c 'echo true > /usr/local/bin/install-packages'
    in_root rm -f /usr/lib/systemd/system/systemd-resolved.service
    configure
    [[ "$output" == *"nothing in this image configures the network"* ]]
    in_root sh -c "! test -e $DHCP"
}
