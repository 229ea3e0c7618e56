# Stand-ins for devstack's functions, written after what its functions and functions-common do.
# Files are really changed; what would change the machine is recorded in $CALLS.
# shellcheck disable=SC2034 # devstack/plugin.sh reads them

declare -A GITDIR=([heat-config-zaqar]="$DEST/heat-config-zaqar")
ZAQAR_SERVICE_HOST=10.0.0.1

trueorfalse() {
    local default=$1 value=${!2:-}
    case ${value,,} in
        1 | yes | true) echo True ;;
        0 | no | false) echo False ;;
        *) echo "$default" ;;
    esac
}

is_plugin_enabled() { [[ ,$DEVSTACK_PLUGINS, == *,$1,* ]]; }

die() {
    echo "${*:2}" >&2
    exit 1
}

echo_summary() { echo "$*"; }

install_package() { echo "install_package $*" >> "$CALLS"; }

upload_image() { echo "upload_image $*" >> "$CALLS"; }

iniset() {
    /usr/bin/python3 -c 'import configparser, sys
path, section, option, value = sys.argv[1:]
known = configparser.ConfigParser(interpolation=None)
known.read(path)
if section != "DEFAULT" and not known.has_section(section):
    known.add_section(section)
known.set(section, option, value)
with open(path, "w") as stream:
    known.write(stream)' "$@"
}

iniget() {
    /usr/bin/python3 -c 'import configparser, sys
known = configparser.ConfigParser(interpolation=None)
known.read(sys.argv[1])
print(known.get(sys.argv[2], sys.argv[3], fallback=""))' "$@"
}

# The two commands that are called, with the options that they are called with, and no others.
openstack() {
    case "$*" in
        "--os-cloud devstack-system-admin endpoint list --service messaging-websocket -f value -c ID -c URL")
            cat "$ENDPOINTS" ;;
        "--os-cloud devstack-system-admin endpoint set --url "*)
            sed -i "s#^$7 .*#$7 $6#" "$ENDPOINTS" ;;
        *) die 0 "openstack: unknown: $*" ;;
    esac
}
