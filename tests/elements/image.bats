#!/usr/bin/env bats
# What runs in the image: the install phases, and what they leave behind. They
# run for real, in a copy-on-write copy of this machine's root file system.

load helpers

SCRIPTS=/usr/libexec/os-refresh-config
BIN=/opt/heat-config-zaqar/bin

setup_file() {
    export DIB_HEAT_CONFIG_ZAQAR_MAX_ATTEMPTS=7
    install_in_root
}

teardown_file() {
    stop_root
}

mode_of() {
    in_root stat -c %a "$1"
}

@test "every collector imports without the packages that were left out" {
    in_root "$BIN/python" -c 'from os_collect_config import (
        cfn, ec2, heat, heat_local, local, request, zaqar)
import heatclient.v1.client, zaqarclient.queues.v2.client, zaqarclient.transport.ws'
}

@test "the three programs answer" {
    run in_root "$BIN/os-collect-config" --print-cachedir
    [ "$output" = /var/lib/os-collect-config ]
    run in_root os-refresh-config --print-base
    [ "$output" = "$SCRIPTS" ]
    run in_root os-apply-config --help
    [ "$status" -eq 0 ]
}

@test "os-collect-config on the PATH is the launcher with the lossless collector" {
    run in_root os-collect-config --print-cachedir
    [ "$output" = /var/lib/os-collect-config ]
    run in_root readlink -f /usr/local/bin/os-collect-config
    [ "$output" = "$BIN/heat-config-zaqar-collect" ]
}

@test "every installed program's module is there" {
    for name in 55-heat-config heat-config-notify heat-config-zaqar heat-config-zaqar-collect \
        heat-config-zaqar-script-hook; do
        module="$(in_root sed -n 's/^from \(.*\) import .*/\1/p' "$BIN/$name" | tail -n 1)"
        in_root "$BIN/python" -c "import $module"
    done
}

@test "pip and tests do not stay, and it all takes less than 100 MB" {
    run in_root sh -c 'cd /opt/heat-config-zaqar; find . -name tests -o -name pip -o -name "pip-*"'
    [ -z "$output" ]
    [ "$(in_root du -sm /opt/heat-config-zaqar | cut -f 1)" -lt 100 ]
}

@test "the manifest names every wheel with its hash" {
    run in_root grep -c '\.whl$' /etc/dib-manifests/heat-config-zaqar-wheels
    [ "$output" -eq "$(($(grep -c == "$REPOSITORY/hooks/requirements.txt") + 1))" ]
    in_root grep -Eq '^[0-9a-f]{64}  os_collect_config-' /etc/dib-manifests/heat-config-zaqar-wheels
}

@test "nothing of the build host's pip configuration stays" {
    run in_root sh -c 'find /opt/heat-config-zaqar /root /etc -name "pip.conf" -newer /tmp/in_target.d'
    [ -z "$output" ]
    run in_root grep -rlE 'index-url|find-links|trusted-host' /opt/heat-config-zaqar --include='*.txt'
    [ -z "$output" ]
}

@test "the elements' scripts are where os-refresh-config runs them" {
    run in_root dib-run-parts --list "$SCRIPTS/configure.d"
    [ "${lines[0]}" = "$SCRIPTS/configure.d/10-tighten-cfn-init-data" ]
    [ "${lines[1]}" = "$SCRIPTS/configure.d/20-os-apply-config" ]
    [ "${lines[2]}" = "$SCRIPTS/configure.d/55-heat-config" ]
}

@test "passwords reach os-collect-config as they are" {
    for password in 'a&b%<"^*!' "it's\$5" '"quoted"' ' blank ' '#;=' '{{x}}'; do
        text="$(python3 -c 'import json, sys; print(json.dumps({"os-collect-config": {
            "collectors": ["zaqar", "local"], "zaqar": {"password": sys.argv[1],
            "use_websockets": False, "region_name": None, "queue_id": "q"}}}))' "$password")"
        apply "$text"
        run in_root "$BIN/python" -c 'from os_collect_config import collect
collect.setup_conf()
collect.CONF(["--config-file", "/etc/os-collect-config.conf"], prog="os-collect-config")
print(collect.CONF.collectors, collect.CONF.zaqar.region_name, collect.CONF.zaqar.queue_id)
print(collect.CONF.zaqar.password, end="|")'
        [ "${lines[0]}" = "['zaqar', 'local'] None q" ]
        [ "${lines[1]}" = "$password|" ]
    done
    [ "$(mode_of /etc/os-collect-config.conf)" = 600 ]
}

@test "upstream's sections and options are written" {
    apply '{"os-collect-config": {"polling_interval": 12, "command": "true", "splay": 3,
        "cachedir": "/c", "cfn": {"metadata_url": "http://h/v1/", "path": ["a.M", "b.M"]},
        "heat": {"stack_id": "s/1"}, "heat_local": {"path": "/p"}, "local": {"path": "/l"},
        "request": {"metadata_url": "http://h/"}, "ec2": {"timeout": 1.5},
        "zaqar": {"ssl_certificate_validation": true, "ca_file": "/ca.pem"}}}'
    run in_root cat /etc/os-collect-config.conf
    for line in 'polling_interval = 12' 'command = true' 'splay = 3' 'cachedir = /c' '[cfn]' \
        'path = a.M' 'path = b.M' '[heat]' 'stack_id = s/1' '[heat_local]' '[local]' '[request]' \
        'timeout = 1.5' 'ssl_certificate_validation = true' 'ca_file = /ca.pem'; do
        [[ "$output" == *"$line"* ]] || { echo "missing: $line" >&2; return 1; }
    done
}

@test "no limit covers the sum of all hooks of a run" {
    in_root rm /etc/os-collect-config.conf
    apply '{"something": "else"}'
    in_root grep -qx 'command = os-refresh-config' /etc/os-collect-config.conf
    apply '{"os-collect-config": {"collectors": ["zaqar"]}}'
    in_root grep -qx 'command = os-refresh-config' /etc/os-collect-config.conf
}

@test "metadata without deployments stops nothing that comes after 55-heat-config" {
    for metadata in '{"hello": 1}' '{"deployments": null}' '{"deployments": []}'; do
        apply "$metadata"
        in_root "$SCRIPTS/configure.d/55-heat-config"
    done
}

@test "metadata without credentials does not take them from the guest" {
    apply '{"os-collect-config": {"zaqar": {"queue_id": "mine"}}}'
    apply '{"something": "else"}'
    in_root grep -q 'queue_id = mine' /etc/os-collect-config.conf
}

@test "what cannot be written to the configuration is left out, and stops nothing" {
    apply '{"deployments": [], "os-collect-config": {"command": "a\nb", "collectors": ["zaqar"],
        "": 1, "a b": 2, "bad]": {"a": 1}, "zaqar": {"queue_id": "written",
        "password": "secret\n[DEFAULT]\ncommand = id", "region_name": "\ud800"}}}'
    run in_root cat /etc/os-collect-config.conf
    [ "$output" = "$(printf '%s\n' '[DEFAULT]' 'collectors = zaqar' 'command = os-refresh-config' \
        '' '[zaqar]' 'queue_id = written')" ]
}

@test "who is told what is left out is not told the value" {
    run in_root /usr/libexec/os-apply-config/templates/etc/os-collect-config.conf \
        <<< '{"os-collect-config": {"a": 1, "password": "secret\n"}}'
    [ "$status" -eq 0 ]
    [[ "$output" == *"left out: the value of password"* ]]
    [[ "$output" != *secret* ]]
}

@test "deployments are a JSON list that only root reads" {
    apply '{"deployments": [{"id": "1", "config": "{{ jinja }} & <b>\"\u00fc\""}]}'
    [ "$(mode_of /run/heat-config/heat-config)" = 600 ]
    run in_root python3 -c 'import json
print(json.load(open("/run/heat-config/heat-config"))[0]["config"] == "{{ jinja }} & <b>\"\u00fc\"")'
    [ "$output" = True ]
}

@test "build-time choices are in the guest's settings, and its package reads them" {
    [ "$(mode_of /etc/heat-config-zaqar.toml)" = 644 ]
    run in_root "$BIN/python" -c 'from heat_config_zaqar import settings
print(settings.load().max_attempts)'
    [ "$output" = 7 ]
}

@test "directories that hold secrets are root's alone" {
    for directory in /var/lib/heat-cfntools /var/lib/os-collect-config \
        /var/lib/os-collect-config/local-data /var/lib/heat-config-zaqar; do
        [ "$(mode_of "$directory")" = 700 ]
    done
}

@test "metadata files that others may read are tightened before anything is configured" {
    for file in /var/lib/heat-cfntools/cfn-init-data /var/lib/cloud/data/cfn-init-data; do
        in_root sh -c "echo {} > $file; chmod 0644 $file"
        in_root "$SCRIPTS/configure.d/10-tighten-cfn-init-data"
        [ "$(mode_of "$file")" = 600 ]
    done
}

@test "the metadata file that Heat's part-handler writes among others' is closed beforehand" {
    in_root rm -rf /var/lib/cloud
    in_root /tmp/in_target.d/post-install.d/60-os-collect-config-zaqar-config
    [ "$(mode_of /var/lib/cloud/data/cfn-init-data)" = 600 ]
    in_root os-apply-config # an empty file would stop it
    in_root sh -c 'umask 022; echo password > /var/lib/cloud/data/cfn-init-data'
    [ "$(mode_of /var/lib/cloud/data/cfn-init-data)" = 600 ]
}

@test "the service and the timer are enabled, and systemd accepts the units" {
    for unit in os-collect-config.service heat-config-zaqar-deliver.timer \
        heat-config-zaqar-deliver.path; do
        run in_root systemctl is-enabled "$unit"
        [ "$output" = enabled ]
    done
    run in_root systemd-analyze verify os-collect-config.service \
        heat-config-zaqar-deliver.service heat-config-zaqar-deliver.timer \
        heat-config-zaqar-deliver.path
    [[ "$output" != *os-collect-config* ]]
    [[ "$output" != *heat-config-zaqar* ]]
}

@test "the units stay enabled where the first boot applies presets that enable nothing" {
    in_root sh -c 'echo "disable *" > /usr/lib/systemd/system-preset/99-none.preset
        rm -f /usr/lib/systemd/system-preset/90-*; systemctl preset-all'
    for unit in os-collect-config.service heat-config-zaqar-deliver.timer \
        heat-config-zaqar-deliver.path; do
        run in_root systemctl is-enabled "$unit"
        [ "$output" = enabled ] || { echo "$unit: $output" >&2; return 1; }
    done
}

@test "the delivery runs no hooks and is shut in as far as systemd can" {
    run in_root systemd-analyze security --offline=true --threshold=25 \
        heat-config-zaqar-deliver.service
    [ "$status" -eq 0 ] || { echo "$output" >&2; return 1; }
}

@test "the script hook is there, and gives way to another element's" {
    run in_root readlink /var/lib/heat-config/hooks/script
    [ "$output" = "$BIN/heat-config-zaqar-script-hook" ]
    in_root sh -c 'rm /var/lib/heat-config/hooks/script
        echo theirs > /var/lib/heat-config/hooks/script'
    in_root /tmp/in_target.d/post-install.d/60-heat-config-zaqar
    run in_root cat /var/lib/heat-config/hooks/script
    [ "$output" = theirs ]
}

@test "a Python without wheels stops the build with what to set" {
    staged=/tmp/in_target.d/heat-config-zaqar-build
    in_root mkdir /tmp/none
    run in_root python3 "$staged/build_venv.py" --staged /tmp/none --venv /tmp/v --manifest /tmp/m
    [ "$status" -eq 1 ]
    [[ "${lines[0]}" == *"add $(python_here) to DIB_HEAT_CONFIG_ZAQAR_PYTHONS" ]]
}

@test "an image whose Python is too old stops the build" {
    # shellcheck disable=SC2016
    in_root sh -c 'mkdir /tmp/old; printf "#!/bin/sh\nexit 1\n" > /tmp/old/python3
        chmod 755 /tmp/old/python3
        for v in 11 12 13 14; do cp /tmp/old/python3 /tmp/old/python3.$v; done'
    run in_root env PATH=/tmp/old:/usr/bin:/bin \
        /tmp/in_target.d/install.d/55-os-collect-config-zaqar-venv
    [ "$status" -eq 1 ]
    [ "${lines[0]}" = "os-collect-config-zaqar: the image has no Python of 3.11 or later" ]
}
