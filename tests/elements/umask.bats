#!/usr/bin/env bats
# A builder with umask 077: a checkout that is closed to others, and phases run by diskimage-builder's
# own dib-run-parts with that umask, which sudo hands on.

load helpers

setup_file() {
    dib_environment
    unshare --mount true || skip "takes the right to make a mount namespace (root)"
    umask 077
    local ours="$BATS_FILE_TMPDIR/checkout" hooks="$BATS_FILE_TMPDIR/hooks"
    mkdir "$ours"
    cp -R "$REPOSITORY/elements" "$REPOSITORY/hooks" "$ours/"
    chmod -R go= "$ours"
    ELEMENTS_PATH="${ELEMENTS_PATH/"$REPOSITORY"/"$ours"}"
    merge "$hooks" heat-config-zaqar debian-minimal > /dev/null
    cp "$DIB_LIB/dib-run-parts" "$hooks/"
    # Other elements want what disk-image-create alone exports.
    find "$hooks/environment.d" -type f ! -name '*zaqar*' -delete
    export RUN_PARTS_REGEX='zaqar|20-install-init-scripts'
    export TARGET_ROOT="$BATS_FILE_TMPDIR/target"
    mkdir "$TARGET_ROOT"
    phase root
    phase extra-data
    (umask 022 && start_root "$hooks")
    in_root rm -rf /opt/heat-config-zaqar /usr/libexec/os-refresh-config /usr/libexec/os-apply-config
    for name in install post-install; do
        in_root env RUN_PARTS_REGEX="$RUN_PARTS_REGEX" sh -c "umask 077
            /tmp/in_target.d/dib-run-parts /tmp/in_target.d/$name.d" \
            > "$BATS_FILE_TMPDIR/$name.log" 2>&1 || {
            cat "$BATS_FILE_TMPDIR/$name.log" >&2
            return 1
        }
    done
}

# phase NAME : what dib-run-parts runs on the build host.
phase() {
    "$BATS_FILE_TMPDIR/hooks/dib-run-parts" "$BATS_FILE_TMPDIR/hooks/$1.d" \
        > "$BATS_FILE_TMPDIR/phase.log" 2>&1 || {
        cat "$BATS_FILE_TMPDIR/phase.log" >&2
        return 1
    }
}

teardown_file() {
    stop_root
}

@test "each user of the guest can ask for the version" {
    run in_root setpriv --reuid=65534 --regid=65534 --clear-groups heat-config-zaqar version
    [ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
}

@test "apt's own user can enter the root of the image that is being built" {
    [ "$(stat -c %a "$TARGET_ROOT")" = 755 ]
}

@test "units, scripts, templates and settings have the modes of a build with umask 022" {
    while read -r mode path; do
        found="$(in_root stat -c %a "$path")"
        [ "$found" = "$mode" ] || { echo "$path: $found" >&2; return 1; }
    done <<'TABLE'
755 /opt/heat-config-zaqar
644 /etc/heat-config-zaqar.toml
644 /usr/lib/systemd/system/os-collect-config.service
644 /usr/lib/systemd/system/heat-config-zaqar-deliver.path
644 /usr/lib/systemd/system-preset/50-heat-config-zaqar.preset
644 /usr/lib/systemd/system-preset/50-os-collect-config-zaqar.preset
755 /usr/libexec/os-refresh-config
755 /usr/libexec/os-refresh-config/configure.d
755 /usr/libexec/os-refresh-config/configure.d/55-heat-config
755 /usr/libexec/os-apply-config/templates/etc/os-collect-config.conf
644 /usr/libexec/os-apply-config/templates/etc/os-collect-config.conf.oac
755 /var/lib/heat-config/hooks
TABLE
}

@test "what is closed stays closed" {
    for directory in /var/lib/heat-cfntools /var/lib/os-collect-config /var/lib/heat-config-zaqar; do
        [ "$(in_root stat -c %a "$directory")" = 700 ]
    done
    [ "$(in_root stat -c %a /etc/os-collect-config.conf)" = 600 ]
}
