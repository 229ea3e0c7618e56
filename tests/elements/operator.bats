#!/usr/bin/env bats
# heat-config-zaqar as it is installed, called by root and by nobody, on records
# that 55-heat-config made.

load helpers

setup_file() {
    install_in_root
    # shellcheck disable=SC2016 # the script's shell expands it
    apply '{"deployments": [
        {"id": "3f2a91c0-1111", "name": "greet", "group": "script",
         "config": "#!/bin/sh\necho hello; echo warned >&2; echo 42 >$heat_outputs_path.answer",
         "outputs": [{"name": "answer"}], "inputs": [
             {"name": "deploy_signal_transport", "value": "NO_SIGNAL"},
             {"name": "deploy_action", "value": "CREATE"},
             {"name": "token", "value": "TopSecret"}]},
        {"id": "77e0b1d2-2222", "name": "broken", "group": "script",
         "config": "#!/bin/sh\nexit 3", "inputs": [
             {"name": "deploy_signal_transport", "value": "NO_SIGNAL"}]}]}'
    in_root /opt/heat-config-zaqar/bin/55-heat-config
}

teardown_file() {
    stop_root
}

as_root() {
    run in_root heat-config-zaqar "$@"
}

as_nobody() {
    run in_root setpriv --reuid=65534 --regid=65534 --clear-groups heat-config-zaqar "$@"
}

# shows TEXT... : the output has each text, and no traceback.
shows() {
    for text in "$@"; do
        [[ "$output" == *"$text"* ]] || { echo "missing: $text in: $output" >&2; return 1; }
    done
    [[ "$output" != *Traceback* ]]
}

@test "status tells that a deployment failed" {
    as_root status
    [ "$status" -eq 1 ]
    [ "${lines[0]}" = "connection: unknown" ]
    [[ "${lines[1]}" == "ID "*" SIGNAL" ]]
    [[ "${lines[2]}" == "3f2a91c0  greet   script  CREATE  complete  0 "*"not wanted" ]]
    [[ "${lines[3]}" == "77e0b1d2  broken  script  -       failed    3 "*"not wanted" ]]
}

@test "status --json is for machines" {
    as_root status --json
    [ "$status" -eq 1 ]
    run python3 -c 'import json, sys
print([row["state"] for row in json.loads(sys.argv[1])["deployments"]])' "$output"
    [ "$output" = "['complete', 'failed']" ]
}

@test "show names inputs and outputs, and keeps the inputs' values" {
    as_root show greet
    [ "$status" -eq 0 ]
    shows 3f2a91c0-1111 "deploy_signal_transport, deploy_action, token" "output answer:"
    [[ "$output" != *TopSecret* ]]
    as_root show 77e0
    [ "$status" -eq 1 ]
    as_root show --json greet
    [[ "$output" != *TopSecret* ]]
}

@test "logs prints what the hook printed" {
    as_root logs greet
    [ "$status" -eq 0 ]
    shows hello warned
}

@test "an unknown ID and a wrong command line are 2" {
    for command in "show nothing" "logs" "stauts" "rerun x --twice"; do
        # shellcheck disable=SC2086
        as_root $command
        [ "$status" -eq 2 ]
        shows heat-config-zaqar
    done
}

@test "resend refuses what was not to be signalled" {
    as_root resend greet
    [ "$status" -eq 1 ]
    shows "deployment 3f2a91c0-1111 has nowhere to signal to: it asked for no signal"
}

@test "rerun runs the hook on the terminal, and its status code is the exit code" {
    as_root rerun greet
    [ "$status" -eq 0 ]
    shows hello "output answer:" "status code: 0"
    as_root rerun broken
    [ "$status" -eq 1 ]
    shows "status code: 3"
}

@test "doctor names the first problem and what to do" {
    run in_root env HEAT_SHELL_CONFIG=/dev/null heat-config-zaqar doctor
    [ "$status" -eq 1 ]
    [[ "${lines[0]}" == "ok "*"settings "* ]]
    shows "not checked  keystone     no login is known" "First problem: metadata: no metadata"
    shows "What to do: hand the server's metadata over in /var/lib/heat-cfntools/cfn-init-data"
}

@test "status --wait ends when the time is over, and refuses what is no time" {
    as_root status --wait 5
    [ "$status" -eq 1 ]
    shows broken
    as_root status --wait soon
    [ "$status" -eq 2 ]
    shows "'soon' is not a number of seconds"
}

@test "collect-logs makes a closed archive with everything but secrets" {
    as_root collect-logs /root/guest.tar.gz
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = /root/guest.tar.gz ]
    run in_root stat --format=%a /root/guest.tar.gz
    [ "$output" = 600 ]
    run in_root tar -xzOf /root/guest.tar.gz
    [ "$status" -eq 0 ]
    shows 3f2a91c0-1111 '"state": "failed"' '"check": "settings"' '"os-collect-config": "'
    for secret in TopSecret hello warned; do
        [[ "$output" != *"$secret"* ]] || { echo "there is: $secret" >&2; return 1; }
    done
}

@test "deliver waits for the first metadata after a start" {
    as_root deliver
    [ "$status" -eq 0 ]
    shows "no metadata was collected"
}

@test "version is the installed one, for everybody" {
    as_root version
    [ "$status" -eq 0 ]
    local version="$output"
    as_nobody version
    [ "$status" -eq 0 ]
    [ "$output" = "$version" ]
}

@test "without root's rights status says what is public and what to do" {
    as_nobody status
    [ "$status" -eq 4 ]
    [[ "${lines[0]}" == "heat-config-zaqar 0+source."* ]]
    shows "/var/lib/heat-config-zaqar is for root alone: call it with sudo"
}

@test "without root's rights every other command says what to do" {
    for command in "show greet" "logs greet" "resend greet" "rerun greet" deliver doctor \
        collect-logs "status --wait"; do
        # shellcheck disable=SC2086
        as_nobody $command
        [ "$status" -eq 4 ] || { echo "$command: $status $output" >&2; return 1; }
        shows "call it with sudo"
    done
}

@test "every help is complete" {
    as_nobody --help
    [ "$status" -eq 0 ]
    for command in status show logs resend rerun deliver doctor collect-logs metrics version; do
        shows "$command"
        run in_root heat-config-zaqar "$command" --help
        [ "$status" -eq 0 ]
        shows "examples:" "exit codes:"
        as_nobody --help
    done
}
