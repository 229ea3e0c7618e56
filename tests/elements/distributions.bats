#!/usr/bin/env bats
# What each distribution is asked for: its package of Python, the wheels that
# are fetched for it. diskimage-builder's own code reads the maps; only Debian
# and Ubuntu images are built here.

load helpers

# distribution  release  packages  Python versions
TABLE='debian    bookworm    python3                3.11
debian    trixie      python3                3.13
ubuntu    noble       python3                3.12
ubuntu    resolute    python3                3.14
centos    9-stream    python3,python3.12     3.12
centos    10-stream   python3                3.12
rhel      9           python3,python3.12     3.12
rocky     9           python3,python3.12     3.12
rocky     10          python3                3.12
almalinux 9           python3,python3.12     3.12
fedora    43          python3                3.11,3.12,3.13,3.14
opensuse  15.6        python311              3.11
opensuse  tumbleweed  python3                3.11,3.12,3.13,3.14'

setup() {
    dib_environment
    element="$REPOSITORY/elements/os-collect-config-zaqar"
    map="$(python3 -c 'from diskimage_builder import paths
print(paths.get_path("elements"))')/pkg-map/bin/pkg-map"
}

@test "each distribution's package of Python is one that it has" {
    while read -r distribution release packages _; do
        run python3 "$map" --pkg-map "$element/pkg-map" --distro "$distribution" \
            --release "$release" heat-config-zaqar-python
        [ "$status" -eq 0 ]
        found="$(grep -v '^INFO' <<< "$output" | xargs | tr ' ' ,)"
        [ "$found" = "$packages" ] || { echo "$distribution $release: $found" >&2; return 1; }
    done <<< "$TABLE"
}

@test "each distribution's own Python gets yaml, which hooks of heat-agents import" {
    while read -r distribution release _; do
        case "$distribution" in
            debian | ubuntu) wanted=python3-yaml ;;
            opensuse) wanted=python3-PyYAML ;;
            *) wanted=python3-pyyaml ;;
        esac
        run python3 "$map" --pkg-map "$REPOSITORY/elements/heat-config-zaqar/pkg-map" \
            --distro "$distribution" --release "$release" heat-config-zaqar-yaml
        [ "$status" -eq 0 ]
        [[ "$output" == *$'\n'"$wanted" ]] || { echo "$distribution: $output" >&2; return 1; }
    done <<< "$TABLE"
}

@test "a name server's client comes only where a release packs it by itself" {
    for distribution in debian:systemd-resolved ubuntu:systemd-resolved fedora: centos:; do
        run python3 "$map" --pkg-map "$element/pkg-map" --distro "${distribution%:*}" \
            --release none heat-config-zaqar-network
        [ "$status" -eq 0 ]
        [ "$(grep -v '^INFO' <<< "$output")" = "${distribution#*:}" ]
    done
}

@test "a release with a known Python downloads wheels for that one only" {
    # shellcheck disable=SC2034 # the sourced file reads them
    while read -r DISTRO_NAME DIB_RELEASE _ pythons; do
        unset DIB_HEAT_CONFIG_ZAQAR_PYTHONS
        # shellcheck disable=SC1091 # the linter looks from elsewhere
        source "$element/environment.d/60-os-collect-config-zaqar.bash"
        found="${DIB_HEAT_CONFIG_ZAQAR_PYTHONS// /,}"
        [ "$found" = "$pythons" ] || { echo "$DISTRO_NAME $DIB_RELEASE: $found" >&2; return 1; }
    done <<< "$TABLE"
}
