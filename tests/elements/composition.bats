#!/usr/bin/env bats
# The elements among others: diskimage-builder's own code resolves and merges
# them with heat-agents' elements and with an element of somebody's own.

load helpers

HOOKS=(ansible apply-config cfn-init chef docker-cmd docker-compose hiera json-file kubelet
    puppet salt script)

setup_file() {
    AGENTS="$(cd "$REPOSITORY" && python3 -m testbed.heat_agents)"
    export AGENTS
}

setup() {
    dib_environment
    mkdir -p "$BATS_TEST_TMPDIR/own/our-guest"
    printf 'heat-config-zaqar\nheat-config-docker-cmd\n' \
        > "$BATS_TEST_TMPDIR/own/our-guest/element-deps"
    export ELEMENTS_PATH="$BATS_TEST_TMPDIR/own:$AGENTS:$ELEMENTS_PATH"
}

resolve() {
    run python3 "$DIB_LIB/element-info.py" "$@"
}

# provided_twice DIRECTORY... : the paths that merging these elements would provide twice.
provided_twice() {
    local element
    for element in "$@"; do
        (cd "$element" && find . -mindepth 2 -type f -not -path './tests/*' \
            -not -path '*/__pycache__/*')
    done | sort | uniq -d
}

@test "heat-agents' elements and ours provide no path twice, however deep" {
    merge "$BATS_TEST_TMPDIR/hooks" debian-minimal vm block-device-mbr cloud-init \
        heat-config-zaqar "${HOOKS[@]/#/heat-config-}" > /dev/null
    array="$(get_image_element_array)"
    eval "declare -A elements=($array)"
    [ -n "${elements[heat-config-kubelet]}" ]
    [ -z "${elements[heat-config]:-}" ]
    run provided_twice "${elements[@]}"
    [ -z "$output" ] || { echo "provided twice: $output" >&2; return 1; }
    grep -q /opt/heat-config-zaqar \
        "$BATS_TEST_TMPDIR/hooks/os-refresh-config/configure.d/55-heat-config"
}

@test "the same check finds what the element that is replaced would bring" {
    run provided_twice "$AGENTS/heat-config" "$REPOSITORY/elements/heat-config-zaqar"
    [[ "$output" == *os-refresh-config/configure.d/55-heat-config* ]]
}

@test "the elements may be named in any order, or by an element that depends on them" {
    for list in "heat-config-zaqar heat-config-docker-cmd" \
        "heat-config-docker-cmd heat-config-zaqar" "heat-config-ansible our-guest" our-guest \
        heat-config-script; do
        # shellcheck disable=SC2086 # one word for each element
        resolve debian-minimal $list
        [ "$status" -eq 0 ] || { echo "$list: $output" >&2; return 1; }
        [[ " $output " == *" os-collect-config-zaqar "* ]]
        for replaced in heat-config os-apply-config os-collect-config os-refresh-config; do
            [[ " $output " != *" $replaced "* ]]
        done
    done
}

@test "naming an element that is replaced is refused, and the message names it" {
    for replaced in heat-config os-apply-config os-collect-config os-refresh-config; do
        resolve debian-minimal heat-config-zaqar "$replaced"
        [ "$status" -ne 0 ]
        [[ "$output" == *"$replaced : already provided by ["* ]]
    done
}

@test "a list of images in YAML becomes the commands that build them" {
    cat > "$BATS_TEST_TMPDIR/images.yaml" <<'YAML'
- imagename: overcloud-full
  arch: amd64
  types: [qcow2]
  elements: [debian-minimal, vm, heat-config-zaqar, heat-config-ansible]
  packages: [curl]
  environment:
    DIB_RELEASE: bookworm
    DIB_HEAT_CONFIG_ZAQAR_MAX_ATTEMPTS: "5"
YAML
    run diskimage-builder --dry-run "$BATS_TEST_TMPDIR/images.yaml"
    [ "$status" -eq 0 ]
    [[ "$output" == *disk-image-create*"debian-minimal vm heat-config-zaqar heat-config-ansible"* ]]
    [[ "$output" == *DIB_HEAT_CONFIG_ZAQAR_MAX_ATTEMPTS*5* ]]
}
