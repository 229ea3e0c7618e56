# Shared by the .bats files of this folder: diskimage-builder's own code merges
# the elements, and its phases run in a throw-away copy of this machine's root.
#
# python3 on PATH has to have diskimage-builder and pip (tox sees to both).

REPOSITORY="$(cd "$BATS_TEST_DIRNAME/../.." && pwd)"
# shellcheck disable=SC2034 # read by those that load this
BUILD=heat-config-zaqar-build

# What disk-image-create would export before its first phase.
dib_environment() {
    DIB_PYTHON_EXEC="$(command -v python3)"
    DIB_LIB="$(python3 -c 'from diskimage_builder import paths; print(paths.get_path("lib"))')"
    export DIB_PYTHON_EXEC ARCH=amd64 DISTRO_NAME=debian DIB_RELEASE=none DIB_INIT_SYSTEM=systemd
    export DIB_IMAGE_CACHE="${DIB_IMAGE_CACHE:-$HOME/.cache/image-create}"
    export DIB_MANIFEST_IMAGE_DIR=/etc/dib-manifests DIB_DEBUG_TRACE=0
    export TARGET_ROOT="${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}"
    ELEMENTS_PATH="$(python3 -c 'from diskimage_builder import paths
print(paths.get_path("elements"))')"
    export ELEMENTS_PATH="$REPOSITORY/elements:$ELEMENTS_PATH"
    DIB_HEAT_CONFIG_ZAQAR_PYTHONS="$(python_here)"
    export DIB_HEAT_CONFIG_ZAQAR_PYTHONS
}

# The version of the Python that the copy of this machine has.
python_here() {
    PATH=/usr/local/bin:/usr/bin python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

# merge DIRECTORY ELEMENT... : merge elements and all they need into DIRECTORY.
merge() {
    local directory="$1" info
    shift
    info="$(python3 "$DIB_LIB/element-info.py" --env "$@")"
    eval "$info"
    # shellcheck disable=SC1091 # diskimage-builder's own file
    source "$DIB_LIB/common-functions"
    TMP_HOOKS_PATH="$directory" generate_hooks
}

# in_root COMMAND... : run it in the copy that start_root made.
in_root() {
    nsenter --target "$(cat "$BATS_FILE_TMPDIR/root.pid")" --mount \
        chroot "$BATS_FILE_TMPDIR/mnt/root" env --chdir=/ \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"
}

# start_root HOOKS : a copy-on-write copy of / in a mount namespace of its own,
# with the merged elements read-only where diskimage-builder puts them.
start_root() {
    mkdir -p "$BATS_FILE_TMPDIR/mnt"
    # shellcheck disable=SC2016 # the inner shell expands it
    unshare --mount bash -euc '
        cd "$1"
        mount -t tmpfs none .
        cd "$1"
        mkdir up work root
        mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root
        mount -t proc proc root/proc
        mount --rbind /dev root/dev
        mount -t tmpfs none root/tmp
        mount -t tmpfs none root/run
        mkdir root/tmp/in_target.d
        mount --bind "$2" root/tmp/in_target.d
        mount -o remount,ro,bind "$2" root/tmp/in_target.d
        touch "$3.ready"
        exec sleep 7200 3>&-
    ' - "$BATS_FILE_TMPDIR/mnt" "$1" "$BATS_FILE_TMPDIR/root" \
        > "$BATS_FILE_TMPDIR/root.log" 2>&1 3>&- &
    echo $! > "$BATS_FILE_TMPDIR/root.pid"
    for _ in $(seq 600); do
        if [ -e "$BATS_FILE_TMPDIR/root.ready" ]; then
            return 0
        fi
        kill -0 "$(cat "$BATS_FILE_TMPDIR/root.pid")" 2> /dev/null || break
        sleep 0.1
    done
    cat "$BATS_FILE_TMPDIR/root.log" >&2
    return 1
}

# install_in_root : the element in a copy of this machine, by every phase that runs there.
install_in_root() {
    dib_environment
    if ! unshare --mount true; then
        skip "takes the right to make a mount namespace (root)"
    fi
    local hooks="$BATS_FILE_TMPDIR/hooks"
    merge "$hooks" heat-config-zaqar debian-minimal > /dev/null
    "$hooks/root.d/00-os-collect-config-zaqar-check"
    "$hooks/extra-data.d/60-os-collect-config-zaqar-stage"
    start_root "$hooks"
    in_root rm -rf /opt/heat-config-zaqar /var/lib/heat-config /var/lib/heat-cfntools \
        /var/lib/os-collect-config /var/lib/heat-config-zaqar /etc/os-collect-config.conf
    for script in install.d/20-install-init-scripts install.d/55-os-collect-config-zaqar-venv \
        install.d/60-os-collect-config-zaqar-trees post-install.d/60-heat-config-zaqar \
        post-install.d/60-os-collect-config-zaqar-config; do
        in_root "/tmp/in_target.d/$script" > "$BATS_FILE_TMPDIR/phase.log" 2>&1 || {
            cat "$BATS_FILE_TMPDIR/phase.log" >&2
            return 1
        }
    done
}

# apply METADATA : os-apply-config as os-collect-config would have it called.
apply() {
    in_root sh -c 'cat > /tmp/metadata.json' <<< "$1"
    in_root env OS_CONFIG_FILES=/tmp/metadata.json os-apply-config
}

stop_root() {
    if [ -e "$BATS_FILE_TMPDIR/root.pid" ]; then
        kill "$(cat "$BATS_FILE_TMPDIR/root.pid")" || true
    fi
}
